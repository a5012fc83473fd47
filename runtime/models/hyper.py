"""Hyper: the keys of one architecture in a file, `A.` before each, checked against what makes sense."""

from dataclasses import dataclass

from ..errors import ModelError
from ..gguf.file import GGUFFile
from ..gguf.keys import printable


@dataclass(frozen=True)
class Hyper:
    """Reads keys without the architecture's name in front. Raises GGUFError for one that is missing, mistyped or out of
    range."""

    file: GGUFFile
    name: str

    def key(self, key: str) -> str:
        return f"{self.name}.{key}"

    def has(self, key: str) -> bool:
        return self.key(key) in self.file.keys

    def get_int(self, key: str, default: int | None = None, lo: int = 1, hi: int = 1 << 20) -> int:
        return self.file.get_int(self.key(key), default, lo=lo, hi=hi)

    def get_float(self, key: str, default: float | None = None, lo: float = -1e12, hi: float = 1e12) -> float:
        return self.file.get_float(self.key(key), default, lo=lo, hi=hi)

    def get_str(self, key: str, default: str | None = None) -> str:
        return self.file.get_str(self.key(key), default)

    def get_bool(self, key: str, default: bool | None = None) -> bool:
        return self.file.get_bool(self.key(key), default)

    def get_ints(self, key: str, n: int, default: int | None = None, lo: int = 0, hi: int = 1 << 20) -> tuple[int, ...]:
        """A value for each of n layers, which may stand in the file as one for all."""
        if default is not None and not self.has(key):
            return (default,) * n
        return tuple(self.file.get_ints(self.key(key), lo=lo, hi=hi, length=n).tolist())

    def eps(self) -> float:
        """Of all norms: two names, of which files may carry both."""
        rms, plain = (f"attention.layer_norm_{name}epsilon" for name in ("rms_", ""))
        return self.get_float(plain if self.has(plain) and not self.has(rms) else rms, lo=1e-13, hi=1.0)

    def require(self, ok: bool, key: str, value: object, wanted: str) -> None:
        if not ok:
            raise ModelError(f"{self.key(key)}: {printable(str(value))}, expected {wanted}")
