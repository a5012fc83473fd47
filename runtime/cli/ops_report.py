"""What `vkrun test-ops --report` writes: all that we would ask of someone whose device we do not have."""

import os
import platform
import time
from collections import Counter
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

from ...backends.base import DeviceInfo
from .. import config
from ..errors import UsageError, VkrunError
from ..model import BUNDLED, load
from ..optable.case import Case
from ..optable.matrix import Watch
from ..optable.run import Outcome
from ..units import size_text
from ..version import VERSION

PACKAGES = ("numpy", "gguf", "vulkan", "kp", "cuda-bindings", "nvidia-cuda-nvrtc", "pyobjc-framework-Metal")
PROMPT, N_TOKENS = "def fibonacci(n):", 40


class Report(Watch):
    """Written line by line: a driver that ends the process leaves the case that it was at as the last one."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--report {path}: {error.strerror}") from error
        self._devices: list[tuple[str, DeviceInfo]] = []
        self._counts: Counter[str] = Counter()
        self._began = 0.0
        self._machine()

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self._line(f"\nended by {type(error).__name__}: {error}")
        self._file.close()

    def opens(self, name: str, info: DeviceInfo) -> None:
        self._devices.append((name, info))
        self._line(f"\n# {name}: {info.name}, {info.driver}, {info.kind}, {size_text(info.memory)}")
        for feature, value in info.features.items():
            self._line(f"{feature}: {value}")

    def begins(self, case: Case) -> None:
        self._began = time.perf_counter()
        self._write(f"{case.op} {case.what}: ")

    def ended(self, outcome: Outcome) -> None:
        self._counts[outcome.status] += 1
        figures = f"NMSE {outcome.nmse:.1e}, row {outcome.row:.1e}" if outcome.status == "pass" else outcome.why
        self._line(f"{outcome.status}, {figures}, {time.perf_counter() - self._began:.3f} s")

    def add_model(self) -> bool:
        """What the bundled model says on each device, and whether it is what it says in numpy."""
        self._line(f"\n# in all: {', '.join(f'{n} {status}' for status, n in self._counts.items())}")
        wanted, made = self._text("cpu", None), [self._text(name, info) for name, info in self._devices]
        return wanted is not None and made == [wanted] * len(made)

    def _text(self, name: str, info: DeviceInfo | None) -> str | None:
        """Greedy, and None where it fails."""
        self._write(f"bundled model, {N_TOKENS} tokens on {name}: ")
        try:
            index = info.index if info else 0
            with load(BUNDLED, name, index, n_ctx=256, cache_type_k="f32", cache_type_v="f32") as model:
                began = time.perf_counter()
                text = "".join(model.generate(PROMPT, max_tokens=N_TOKENS, temperature=0))
                first, again = time.perf_counter() - began, time.perf_counter()
                "".join(model.generate(PROMPT, max_tokens=N_TOKENS, temperature=0))
                seconds = time.perf_counter() - again
        except VkrunError as error:
            self._line(f"failed, {error}")
            return None
        self._line(f"{first:.3f} s, then {seconds:.3f} s: {text!r}")
        return text

    def _machine(self) -> None:
        self._line(f"vkrun {VERSION}, Python {platform.python_version()}, {platform.platform()}, {platform.machine()}")
        for name in PACKAGES:
            with suppress(PackageNotFoundError):
                self._line(f"{name} {version(name)}")
        for name, value in sorted(config.of_us().items()):
            self._line(f"{name}={value}")

    def _line(self, text: str) -> None:
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())
