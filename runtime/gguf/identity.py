"""What tells one model file from another, without reading all of it."""

from hashlib import sha256

from .file import GGUFFile

SAMPLE = 4096  # bytes at either end of a tensor


def identity(f: GGUFFile) -> str:
    """A digest of the file's single values, of its tensors' names, types and shapes, and of both ends of each."""
    digest = sha256()
    for name, value in sorted(f.keys.items()):
        if isinstance(value, str | int | float):
            digest.update(f"{name}={value!r}\n".encode("utf-8", "surrogateescape"))
    for name, info in sorted(f.tensors.items()):
        digest.update(f"{name} {info.dtype.name} {info.shape}\n".encode("utf-8", "surrogateescape"))
        n = min(SAMPLE, info.nbytes)
        for start in (0, info.nbytes - n):
            digest.update(f.read(info, start=start, nbytes=n).data)
    return digest.hexdigest()
