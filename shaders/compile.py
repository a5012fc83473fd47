"""GLSL to SPIR-V: from the package where a wheel brought it, compiled on first use in a checkout.

A variant is `(stem, defines)`: `<family>/<stem>.comp` compiled with `-Dname=value` for each define. Its file is named
after the variant and a hash of everything that goes into it (the .comp, every header it includes, the flags), so that
stale SPIR-V is never found, and written by rename, so that several processes may compile at once.
"""

import functools
import hashlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ..runtime import config
from ..runtime.errors import BackendError, reason
from . import tables

Defines = tuple[tuple[str, str], ...]
Variant = tuple[str, Defines]
Progress = Callable[[int, int, str], None]  # done, total, the variant just dealt with

COMPILER, VALIDATOR = "glslangValidator", "spirv-val"
TARGET = ("--target-env", "vulkan1.1")
FLAGS = ("-V", *TARGET)  # -Os costs 60% more time here and gains drivers nothing
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+["<]([^">]+)[">]', re.MULTILINE)
VERSION = "#version 450\n"  # with which each source begins, but for comments
SPIRV_MAGIC = struct.pack("<I", 0x07230203)
TIMEOUT_S = 300


class VariantUnsupportedError(BackendError):
    """A variant that needs a GLSL extension which the installed compiler does not know."""


@dataclass(frozen=True)
class Library:
    """The shaders under `sources`, and the folders of their SPIR-V; the first one that is writable takes new files."""

    sources: Path
    outputs: tuple[Path, ...]

    def key(self, stem: str, defines: Defines) -> str:
        """The file name of a variant: readable, then 16 hex digits of the hash of all that goes into it."""
        readable = "-".join((stem, *(f"{name}_{value}" if value else name for name, value in defines)))
        inputs = repr((FLAGS, defines, _source_digest(self.sources, stem), *tables.digest(defines)))
        return re.sub(r"[^A-Za-z0-9_-]", "_", readable)[:90] + "-" + hashlib.sha256(inputs.encode()).hexdigest()[:16]

    def find(self, stem: str, defines: Defines) -> bytes | None:
        """The SPIR-V of a variant if it is there already."""
        name = self.key(stem, defines) + ".spv"
        found = (_read_spirv(folder / name) for folder in self.outputs)
        return next((words for words in found if words), None)

    def spirv(self, stem: str, defines: Defines) -> bytes:
        """The SPIR-V of a variant, compiled if need be. Raises BackendError."""
        words = self.find(stem, defines)
        return words if words else self._compile_and_keep(stem, defines)

    def available(self, stem: str, defines: Defines) -> bool:
        """Whether spirv() would answer. It compiles what is missing; only a compiler too old, or none, says no."""
        try:
            return bool(self.find(stem, defines) or (_tool(COMPILER) and self._compile_and_keep(stem, defines)))
        except VariantUnsupportedError:
            return False

    def preprocessed(self, variants: Sequence[Variant]) -> list[str]:
        """The GLSL of variants after their preprocessor; #line directives name files below `sources`. By one run of the
        compiler, whose start takes as long as ten of them."""
        with tempfile.TemporaryDirectory(prefix="vkrun-glsl-") as scratch:
            files = [self._defined(Path(scratch) / str(i), *variant) for i, variant in enumerate(variants)]
            named = title(*variants[0]) if len(variants) == 1 else ", ".join(dict.fromkeys(s for s, _ in variants))
            run = self._run(named, ("-E",), files, rf"{re.escape(scratch)}/\d+/")
        return [VERSION + text for text in run.split(VERSION)[1:]]

    def _defined(self, folder: Path, stem: str, defines: Defines) -> Path:
        """A variant's source with its macros in it, at its place below a folder."""
        source = source_of(self.sources, stem)
        head, _, rest = _read_source(source).partition(VERSION)
        macros = "".join(f"#define {name} {value}\n" for name, value in (*defines, *tables.macros(defines)))
        file = folder / source.relative_to(self.sources)
        file.parent.mkdir(parents=True)
        line = head.count("\n") + 2
        file.write_text(f"{VERSION}{macros}#line {line}\n{rest}", encoding="utf-8")
        return file

    def _run(self, name: str, options: Sequence[str], files: Sequence[Path], below: str = "") -> str:
        """What the compiler prints, files without folders. BackendError when it is missing or refuses one of the files.

        name: of them all, in messages. below: a pattern of folders whose files are called as those below `sources`."""
        compiler = _tool(COMPILER)
        if not compiler:
            raise BackendError(
                f"shader {name}: not compiled yet, and {COMPILER} is not on PATH; "
                "install it (Debian, Ubuntu: glslang-tools), or install vkrun from a wheel, which brings its SPIR-V"
            )
        folders = re.compile("|".join(filter(None, (re.escape(f"{self.sources}{os.sep}"), below, r"\w+/\.\./"))))
        run = _run([compiler, *options, *(f"-I{folder}" for folder in _folders(self.sources)), *map(str, files)])
        if run.returncode:
            _raise_compiler_error(name, folders.sub("", run.stdout + run.stderr))
        return folders.sub("", run.stdout)

    def compile_all(self, variants: Iterable[Variant], jobs: int | None, progress: Progress | None) -> list[str]:
        """Compile what is missing; a line for each variant that the compiler is too old for. Raises BackendError."""
        todo = [v for v in dict.fromkeys(variants) if not self.find(*v)]
        notices: list[str] = []
        with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
            futures = {pool.submit(self._compile_and_keep, *v): v for v in todo}
            try:
                for n_done, future in enumerate(as_completed(futures), 1):
                    if isinstance(error := future.exception(), VariantUnsupportedError):
                        notices.append(str(error))
                    elif error:
                        raise error
                    if progress:
                        progress(n_done, len(todo), title(*futures[future]))
            finally:
                pool.shutdown(cancel_futures=True)
        return sorted(notices)

    def _compile_and_keep(self, stem: str, defines: Defines) -> bytes:
        folder = next((f for f in self.outputs if _writable(f)), None)
        with tempfile.TemporaryDirectory(prefix=".compiling-", dir=folder) as scratch:
            made = Path(scratch) / "made.spv"
            macros = (*defines, *tables.macros(defines))
            options = [f"-D{name}={value}" if value else f"-D{name}" for name, value in macros]
            self._run(title(stem, defines), (*FLAGS, *options, "-o", str(made)), [source_of(self.sources, stem)])
            _validate(stem, defines, made)
            words = made.read_bytes()
            if folder:
                made.replace(folder / (self.key(stem, defines) + ".spv"))
        return words


def title(stem: str, defines: Defines) -> str:
    """How messages name a variant: `mul_mat (TYPE_A=Q4_0, ROWS=2)`."""
    options = ", ".join(f"{name}={value}" if value else name for name, value in defines)
    return f"{stem} ({options})" if options else stem


def _validate(stem: str, defines: Defines, made: Path) -> None:
    if (validator := _tool(VALIDATOR)) and (check := _run([validator, *TARGET, str(made)])).returncode:
        why = _first_line(check.stderr + check.stdout)
        raise BackendError(f"shader {title(stem, defines)}: {VALIDATOR} refuses it: {why}")


def _raise_compiler_error(name: str, output: str) -> None:
    line = _first_line(output)
    if "extension not supported" in output:
        raise VariantUnsupportedError(f"shader {name}: {line}; a newer glslang has it")
    raise BackendError(f"shader {name}: {line}; a fault in the shader, or a glslang too old for it")


def _first_line(output: str) -> str:
    """The first error in a compiler's output, which begins with the file's name and ends with a count of errors."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.lower().startswith("error")]
    return next(iter(errors or lines), "no message")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"{command[0]}: {reason(error)}") from error


@functools.cache
def _tool(name: str) -> str | None:
    return shutil.which(name)


@functools.cache
def _source_digest(sources: Path, stem: str) -> str:
    """A hash of a shader and all that it includes, in the order of inclusion. Read once a process."""
    digest, seen, todo = hashlib.sha256(), set[Path](), [source_of(sources, stem)]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        text = _read_source(path)
        digest.update(f"{os.path.relpath(path, sources)}\0{len(text)}\0{text}".encode())
        todo.extend(_resolve(sources, path, name) for name in reversed(INCLUDE.findall(text)))
    return digest.hexdigest()


def _resolve(sources: Path, includer: Path, name: str) -> Path:
    """An included file: beside its includer, else in one of the families' folders, as the compiler looks for it."""
    places = (folder / name for folder in (includer.parent, *_folders(sources)))
    return next((p for p in places if p.is_file()), sources / name)


def source_of(sources: Path, stem: str) -> Path:
    """The .comp file of a stem; no two families have one of the same name."""
    return next(
        (p for folder in _folders(sources) if (p := folder / f"{stem}.comp").is_file()), sources / f"{stem}.comp"
    )


@functools.cache
def _folders(sources: Path) -> tuple[Path, ...]:
    """Where sources stand: the folder itself and those of the families."""
    return (
        sources,
        *sorted({p.parent for p in sources.glob("*/*.glsl")} | {p.parent for p in sources.glob("*/*.comp")}),
    )


def _read_source(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BackendError(f"shader source {path.name}: {error.strerror}") from error


def _read_spirv(path: Path) -> bytes | None:
    """A module's words, or None when the file is absent or is none (a disk that was full, say)."""
    try:
        words = path.read_bytes()
    except OSError:
        return None
    return words if words.startswith(SPIRV_MAGIC) and len(words) % 4 == 0 else None


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _outputs() -> tuple[Path, ...]:
    """Beside the sources, then the user's caches; where the user named a folder for caches, nothing goes elsewhere."""
    own, cache = config.own_cache_dir(), config.cache_dir()
    folders = [own, SOURCES] if own else [SOURCES, *([cache] if cache else [])]
    return tuple(folder / "spv" for folder in folders)


SOURCES = Path(__file__).resolve().parent
LIBRARY = Library(SOURCES, _outputs())


def spirv(stem: str, defines: Defines = ()) -> bytes:
    """The SPIR-V words of a variant, little-endian. BackendError when there are none and they cannot be compiled."""
    return LIBRARY.spirv(stem, defines)


def available(stem: str, defines: Defines = ()) -> bool:
    """Whether a variant can be had: False when the compiler is missing or lacks an extension the shader needs."""
    return LIBRARY.available(stem, defines)


def compile_all(variants: Iterable[Variant], jobs: int | None = None, progress: Progress | None = None) -> list[str]:
    """Compile every variant that is missing, in parallel; returns a notice for each one the compiler cannot do."""
    return LIBRARY.compile_all(variants, jobs, progress)


def preprocessed(variants: Sequence[Variant]) -> list[str]:
    """The GLSL of variants after their preprocessor. BackendError when there is no compiler, or it finds a fault."""
    return LIBRARY.preprocessed(variants)
