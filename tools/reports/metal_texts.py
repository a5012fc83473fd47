"""Every kernel of the op table through Apple's own compiler, which comes with Xcode: on any Mac, whatever its GPU.

Run in a checkout with vkrun installed: python tools/reports/metal_texts.py
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vkrun.runtime.ir.graph import Node
from vkrun.runtime.optable.run import prepare
from vkrun.runtime.optable.table import CASES
from vkrun.shaders.catalogue import lower, refusal
from vkrun.shaders.kernel import KernelCode
from vkrun.shaders.metal import FEATURES, metal_code

COMPILER = ("xcrun", "-sdk", "macosx", "metal", "-std=metal3.0", "-fno-fast-math", "-c", "-x", "metal")


def codes() -> list[KernelCode]:
    """Of all cases that a Mac takes, each once."""
    calls = [lower(node, FEATURES) for node in _nodes() if not refusal(node, FEATURES)]
    return list(dict.fromkeys(call.code for call in calls if call))


def _nodes() -> Iterator[Node]:
    return (prepare(case).node for case in CASES)


def why_refused(code: KernelCode, compiler: tuple[str, ...] = COMPILER) -> str:
    """Empty, or what the compiler says of it."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "kernel.metal"
        source.write_text(metal_code(code).text)
        command = [*compiler, str(source), "-o", str(source.with_suffix(".air"))]
        done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def main() -> int:
    listed = codes()
    with ThreadPoolExecutor() as pool:
        refused = {code.title: why for code, why in zip(listed, pool.map(why_refused, listed), strict=True) if why}
    for title, why in refused.items():
        print(f"{title}\n{why}")
    print(f"{len(listed) - len(refused)} of {len(listed)} kernels compile")
    return 1 if refused or not listed else 0


if __name__ == "__main__":
    sys.exit(main())
