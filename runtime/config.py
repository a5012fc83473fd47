"""The one module that reads vkrun's environment variables; docs/environment.md lists them for users."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UsageError

# every off switch: VKRUN_NO_<name>=1, and what it switches off
SWITCHES = {
    "SUBGROUP": "subgroup arithmetic in shaders",
    "FP16": "16-bit float arithmetic",
    "INT_DOT": "integer dot products",
    "COOPMAT": "cooperative matrices",
    "WARPGROUPS": "products of four subgroups as one, on CUDA devices of compute capability 9.0",
    "DENORMALS": "conversion of halves by a Vulkan device that keeps denormal ones; it is done by integers",
    "ADDRESSES": "buffers of Vulkan shaders at addresses; they are bound by descriptors",
    "MEMORY_BUDGET": "asking the driver for free memory",
    "MAPPED_WEIGHTS": "writing weights straight into device memory where the host can see it",
    "PIPELINE_CACHE": "the pipeline cache on disk",
    "TUNING": "what `vkrun bench --tune` found on this device; kernels are chosen as on an H100",
    "CUDA_GRAPH": "CUDA graphs; each kernel is launched by itself",
    "DEPENDENT_LAUNCH": "the start of a CUDA kernel before the one ahead of it has ended",
    "DELTA_CHUNKS": "scans (delta rules, Mamba-2) in chunks of tokens on GPUs; tokens are scanned one by one",
    "SELECT": "the pass that makes branches of which each step dispatches one",
    "ELIDE": "the pass that takes needless copies out",
    "FUSE": "the pass that fuses chains; every composite is decomposed",
    "ORDER": "the pass that puts independent nodes side by side",
}

# every other variable, and what it does
VARIABLES = {
    "VKRUN_BACKEND": "the backend to use: vulkan, cuda, metal, kompute, cpu or (for tests) host",
    "VKRUN_DEVICE": "the device to use: its index, its UUID or a part of its name",
    "VKRUN_DEBUG": "0 to 4: 1 devices and memory, 2 times of dispatches, 3 barriers and plan, 4 shaders",
    "VKRUN_VALIDATE": "1: Khronos layer with synchronisation validation; one buffer a tensor, as on CUDA and Metal",
    "VKRUN_ROBUST": "1: the device checks the bounds of every buffer access",
    "VKRUN_SUBMIT_GFLOP": "most arithmetic in one submission, in 1e9 operations; lower it where the device is lost",
    "VKRUN_METAL_REPLAY": "1: Metal keeps the commands of a step, from the M3 on, instead of being told them each time",
    "VKRUN_CACHE_DIR": "where everything compiled is kept, instead of $XDG_CACHE_HOME/vkrun or ~/.cache/vkrun",
}

# what the shell scripts that set vkrun up read
SETUP_VARIABLES = {
    "VKRUN_PYTHON": "the Python interpreter to set up with",
    "VKRUN_NO_APT": "1: setting up leaves the system's packages alone",
    "VKRUN_NO_KP": "1: setting up does not build kp, so that there is no kompute backend",
}

_OF_DRIVERS = ("VK_", "LD_", "DYLD_", "MESA_", "LIBGL_", "GALLIUM_", "DRI_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_")


@dataclass(frozen=True)
class Config:
    """What the environment asks for. `off` holds the names of SWITCHES that are set."""

    backend: str | None = None
    device: str | None = None
    debug: int = 0
    validate: bool = False
    robust: bool = False
    submit_gflop: float | None = None
    metal_replay: bool = False
    cache_dir: Path | None = None
    off: frozenset[str] = field(default_factory=frozenset)

    def has(self, switch: str) -> bool:
        """Whether a thing of SWITCHES is left on."""
        return switch not in self.off


def read(environ: Mapping[str, str] = os.environ) -> Config:
    """The environment's wishes, read anew at each call. UsageError names a variable with a value it cannot have."""
    return Config(
        backend=environ.get("VKRUN_BACKEND") or None,
        device=environ.get("VKRUN_DEVICE") or None,
        debug=int(_number(environ, "VKRUN_DEBUG", 0, 4) or 0),
        validate=_flag(environ, "VKRUN_VALIDATE"),
        robust=_flag(environ, "VKRUN_ROBUST"),
        submit_gflop=_number(environ, "VKRUN_SUBMIT_GFLOP", 0.001, 1e9),
        metal_replay=_flag(environ, "VKRUN_METAL_REPLAY"),
        cache_dir=cache_dir(environ),
        off=frozenset(name for name in SWITCHES if _flag(environ, f"VKRUN_NO_{name}")),
    )


def note(level: int, text: str) -> None:
    """A line on stderr when VKRUN_DEBUG is at least `level`."""
    if read().debug >= level:
        print(f"vkrun: {text}", file=sys.stderr)


def unknown(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Variables that begin with VKRUN_ and mean nothing: misspelt ones, most likely."""
    known = {*VARIABLES, *SETUP_VARIABLES, *(f"VKRUN_NO_{name}" for name in SWITCHES)}
    return sorted(name for name in environ if name.startswith("VKRUN_") and name not in known)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip().lower()
    if value not in ("", "0", "1"):
        raise UsageError(f"{name}={environ[name]}: expected 0 or 1")
    return value == "1"


def _number(environ: Mapping[str, str], name: str, low: float, high: float) -> float | None:
    text = environ.get(name, "").strip()
    try:
        value = float(text) if text else None
    except ValueError:
        value = high + 1
    if value is not None and not low <= value <= high:
        raise UsageError(f"{name}={text}: expected a number from {low:g} to {high:g}")
    return value


def own_cache_dir(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where the user wants every cache to go; None without a wish."""
    return Path(own) if (own := environ.get("VKRUN_CACHE_DIR")) else None


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where caches may go: as wished, else by the platform's custom; None when there is no home to put them in."""
    if own := own_cache_dir(environ):
        return own
    if os.name == "nt":
        base = environ.get("LOCALAPPDATA", "")
    else:
        base = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    return Path(base) / "vkrun" if base and Path(base).is_absolute() else None


def data_dir(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where vkrun may keep what a user would miss, such as what was typed; None without a home."""
    home = environ.get("HOME", "")
    base = environ.get("XDG_DATA_HOME") or (f"{home}/.local/share" if home else "")
    return Path(base) / "vkrun" if base and Path(base).is_absolute() else None


def may_style(environ: Mapping[str, str] = os.environ) -> bool:
    """May a terminal be told to dim? NO_COLOR and terminals that know nothing of it say no."""
    return not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def of_drivers(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What is set of the variables that GPU drivers and their loaders read."""
    return {name: environ[name] for name in sorted(environ) if name.startswith(_OF_DRIVERS)}


def of_us(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What is set of our own variables, but folders."""
    known = {*VARIABLES, *(f"VKRUN_NO_{name}" for name in SWITCHES)} - {"VKRUN_CACHE_DIR"}
    return {name: environ[name] for name in sorted(known & set(environ))}


def of_python(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a Python process needs to start, and nothing that may be secret."""
    names = ("SYSTEMROOT", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")
    return {name: environ[name] for name in names if name in environ}


def with_path(places: str) -> dict[str, str]:
    """All that is set, with these places for Python to look for modules in."""
    return dict(os.environ) | {"PYTHONPATH": places}


def export(variables: Mapping[str, str]) -> None:
    """Set variables for libraries that read them in this process."""
    os.environ.update(variables)
