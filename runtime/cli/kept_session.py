"""--prompt-cache: what a session read stands in a file, from which the next one goes on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import UsageError
from ..model import Model
from .screen import note


@contextmanager
def kept_session(model: Model, path: str | None, only_read: bool = False) -> Iterator[None]:
    """Bring back what the file holds, if there is one, and write it again at the end, unless only_read. SessionError
    for a file that is no session of this model, which is then left alone."""
    if path and os.path.exists(path):
        n = model.load_session(path)
        note(f"{path}: {n} tokens that were read earlier")
    yield
    if path and not only_read:
        with suppress(UsageError):  # nothing was read
            model.save_session(path)
