"""CUDA C++ to machine code by NVRTC, kept on disk by all that goes into it."""

import functools
import hashlib
from pathlib import Path

from ...runtime import config
from ...runtime.caches import keep
from ...runtime.errors import BackendError
from ...shaders.texts import prelude
from . import api

# Denormal floats are zeros, quotients and roots good to two units of the last place, as on other GPUs: those that are
# rounded right come with a call for what is rare.
OPTIONS = ("--std=c++17", "--ftz=true", "--prec-div=false", "--prec-sqrt=false")
WARPGROUPS = 9, 0  # the capability that alone has wgmma
ELF_MAGIC = b"\x7fELF"


@functools.cache
def version() -> str:
    return "{}.{}".format(*api.compiler("nvrtcVersion"))


def architecture(capability: tuple[int, int]) -> str:
    """What to compile for: the newest of the device's generation that both know, since machine code runs on later
    devices of its own generation; for 9.0 with what it has alone."""
    major, minor = capability
    known = [a for a in api.compiler("nvrtcGetSupportedArchs") if a // 10 == major and a % 10 <= minor]
    if not known:
        raise BackendError(
            f"NVRTC {version()} knows nothing of compute capability {major}.{minor}; another version does"
        )
    return f"sm_{max(known)}{'a' if (major, minor) == WARPGROUPS else ''}"


def cubin(title: str, source: str, arch: str) -> bytes:
    """Machine code of a source over the prelude cuda.h. BackendError shows the first error of the kernel of `title`."""
    path = _path(source, arch)
    if path is not None and (found := _read(path)):
        return found
    config.note(4, f"compile {title} for {arch}")
    made = _compile(title, source, arch)
    if path is not None:
        keep(path, made)
    return made


@functools.cache
def _headers() -> dict[str, bytes]:
    return {f"{name}.h": prelude(name).encode() for name in ("cuda", "cuda_matrices", "vectors")}


def _path(source: str, arch: str) -> Path | None:
    folder = config.cache_dir()
    inputs = repr((source, arch, OPTIONS, version(), _headers()))
    return folder / "cuda" / f"{hashlib.sha256(inputs.encode()).hexdigest()[:32]}.cubin" if folder else None


def _compile(title: str, source: str, arch: str) -> bytes:
    headers = _headers()
    names = [name.encode() for name in headers]
    program = api.compiler(
        "nvrtcCreateProgram", source.encode(), b"kernel.cu", len(headers), [*headers.values()], names
    )
    try:
        options = [option.encode() for option in (f"--gpu-architecture={arch}", *OPTIONS)]
        status = api.nvrtc().nvrtcCompileProgram(program, len(options), options)[0]
        if int(status):
            raise BackendError(f"cuda: shader {title}: {_first_error(program)}")
        made = b"\0" * api.compiler("nvrtcGetCUBINSize", program)
        api.compiler("nvrtcGetCUBIN", program, made)
        return made
    finally:
        api.nvrtc().nvrtcDestroyProgram(program)


def _first_error(program: object) -> str:
    log = b"\0" * api.compiler("nvrtcGetProgramLogSize", program)
    api.compiler("nvrtcGetProgramLog", program, log)
    lines = log.decode(errors="replace").splitlines()
    return next((line for line in lines if "error" in line), "NVRTC refuses it without a word")


def _read(path: Path) -> bytes | None:
    """None when the file is absent or no machine code (a disk that was full, say)."""
    try:
        found = path.read_bytes()
    except OSError:
        return None
    return found if found.startswith(ELF_MAGIC) else None
