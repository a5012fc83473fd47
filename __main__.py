"""`python -m vkrun`, which is the command `vkrun`."""

import sys

from .runtime.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
