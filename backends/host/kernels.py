"""Kernels as shared libraries of host C++, compiled on first use and kept on disk by all that goes into them."""

import ctypes
import functools
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime import config
from ...runtime.errors import BackendError, reason
from ...shaders.interface import read_text
from ...shaders.kernel import Constants, KernelCode
from ...shaders.texts import text as text_of

COMPILERS = ("c++", "g++", "clang++")
OPTIONS = (
    *("-std=c++17", "-Og", "-w", "-fPIC", "-shared", "-ffp-contract=off", "-fwrapv", "-fno-strict-aliasing"),
    # variables without a value get a strange one; what GLSL leaves undefined calls the handlers of lanes.cpp
    *("-ftrivial-auto-var-init=pattern", "-fsanitize=bounds,shift-exponent,integer-divide-by-zero", "-nodefaultlibs"),
)
RUNNER_OPTIONS = ("-std=c++17", "-O2", "-w", "-fPIC", "-shared")  # no sanitiser: it has the handlers
TIMEOUT_S = 300
HERE = Path(__file__).resolve().parent
PRELUDES = HERE.parent.parent / "shaders" / "preludes"
BARRIER = re.compile(r"\b(barrier|subgroupBarrier)\(\)")
MET, NEEDED = 1, 2  # of lanes.h


@dataclass(frozen=True)
class Compiler:
    path: str
    version: str  # the first line of what it says of itself


@dataclass(frozen=True, eq=False)
class HostKernel:
    """`run` takes a vkrun_dispatch of lanes.h. `barriers`: for each of its text, MET once a dispatch came to it, and
    NEEDED once two invocations of one would have met in shared memory without it alone."""

    run: Callable[[Any], int]
    barriers: np.ndarray


@functools.cache
def compiler() -> Compiler:
    """The system's C++ compiler. BackendError when there is none that can make these kernels."""
    path = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if path is None:
        raise BackendError("host: no C++ compiler on PATH; install one (Debian, Ubuntu: g++)")
    if not shutil.which("glslangValidator"):
        raise BackendError("host: glslangValidator is not on PATH; install it (Debian, Ubuntu: glslang-tools)")
    found = Compiler(path, run([path, "--version"]).partition("\n")[0])
    try:
        library(found, "runner", _runner(), RUNNER_OPTIONS, mode=ctypes.RTLD_GLOBAL)
    except BackendError as error:
        raise BackendError(f"host: {found.version} cannot compile the runner of kernels: {error}") from error
    return found


@functools.cache
def kernel(code: KernelCode) -> HostKernel:
    """One for all calls, whose barriers gather what all of them show."""
    try:
        return compiled(code.stem, text_of(code.stem, code.defines), dict(code.constants))
    except BackendError as error:
        raise BackendError(f"host: {code.title}: {error}") from error


def compiled(name: str, text: str, constants: Constants) -> HostKernel:
    """A translated kernel with its specialisation constants, compiled and loaded. Its barriers get numbers."""
    special = read_text(name, text).macros(constants)
    numbers = itertools.count()
    numbered = BARRIER.sub(lambda match: f"{match[1]}({next(numbers)})", text)
    loaded = library(compiler(), name, f'{special}#include "host.h"\n{numbered}', OPTIONS)
    return HostKernel(loaded.vkrun_kernel, np.zeros(next(numbers), np.uint8))


def _runner() -> str:
    return "".join((HERE / name).read_text() for name in ("lanes.cpp", "accesses.cpp"))


def library(found: Compiler, name: str, source: str, options: tuple[str, ...], mode: int = 0) -> ctypes.CDLL:
    """A source, compiled where that was not done before, and loaded."""
    key = hashlib.sha256(repr((source, found, options, _headers())).encode()).hexdigest()[:24]
    path = _folder() / f"{name}-{key}.so"
    if not path.exists():
        _compile(found, source, options, path)
    return ctypes.CDLL(str(path), mode=mode)


def _compile(found: Compiler, source: str, options: tuple[str, ...], path: Path) -> None:
    """Written by rename, so that several processes may compile at once."""
    with tempfile.TemporaryDirectory(prefix=".compiling-", dir=path.parent) as scratch:
        made, text = Path(scratch) / "made.so", Path(scratch) / "kernel.cpp"
        text.write_text(source)
        config.note(4, f"compile {path.name}")
        run([found.path, *options, f"-I{PRELUDES}", f"-I{HERE}", str(text), "-o", str(made), "-lm"])
        made.replace(path)


def run(command: list[str], given: str = "") -> str:
    """What a command prints that reads `given`. BackendError shows the first error of its own."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", input=given, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"{command[0]}: {reason(error)}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr[:200]]
        raise BackendError(lines[0])
    return done.stdout


@functools.cache
def _headers() -> str:
    return "".join(
        path.read_text()
        for path in (*sorted(PRELUDES.glob("*.h")), HERE / "lanes.h", *sorted((HERE / "msl").iterdir()))
    )


@functools.cache
def _folder() -> Path:
    """Where libraries are kept: in the cache, or where there is none, until the process ends."""
    cache = config.cache_dir()
    folder = (cache / "host") if cache else Path(_scratch().name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(_scratch().name)
    return folder if os.access(folder, os.W_OK) else Path(_scratch().name)


@functools.cache
def _scratch() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="vkrun-host-")
