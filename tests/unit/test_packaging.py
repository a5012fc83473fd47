"""pyproject.toml against the tree, and a wheel built from a copy: what it carries, and that it needs no compiler."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from vkrun.shaders import catalogue, compile

ROOT = Path(compile.__file__).resolve().parent.parent
CHECKOUT = "some checkout"
NOT_PACKAGES = {"tests", "tools", "docs", "build", "dist", "out"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

RUN_FROM_WHEEL = """
import sys
sys.path.insert(0, sys.argv[1])
import vkrun.shaders.catalogue as catalogue, vkrun.shaders.compile as compile, vkrun.shaders.texts as texts
import vkrun.shaders.interface as interface
assert compile.__file__.startswith(sys.argv[1]), compile.__file__
compiled = [variant for variant in catalogue.variants() if compile.LIBRARY.find(*variant) is not None]
print(len(compiled))
packed = [variant for variant in catalogue.variants() if compile.LIBRARY.key(*variant) in texts._packed()]
print(len(packed))
assert all(interface.of_text(*variant) == interface.of_spirv(*variant) for variant in compiled)
"""


def test_every_package_is_listed() -> None:
    folders = [p.parent.relative_to(ROOT) for p in ROOT.glob("**/__init__.py")]
    ours = [f for f in folders if not (f.parts and (f.parts[0] in NOT_PACKAGES or f.parts[0].startswith(".")))]
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(".".join(("vkrun", *f.parts)) for f in ours)


def test_version_and_command() -> None:
    import vkrun

    assert vkrun.__version__ == PROJECT["project"]["version"] == importlib.metadata.version("vkrun")
    command = importlib.metadata.entry_points(group="console_scripts", name="vkrun")
    assert all(callable(c.load()) for c in command) and len(command) == 1


@pytest.mark.parametrize("name", ["cpu", "vulkan", "cuda", "kompute", "host", "metal"])
def test_backends_are_entry_points(name: str) -> None:
    (backend,) = importlib.metadata.entry_points(group="vkrun.backends", name=name)
    assert backend.load() is not None


BUILD_WITHOUT = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None  # importing it raises ImportError
import vkrun.shaders.catalogue as catalogue
print(len(list(catalogue.variants())))
"""


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_-]", r)[0] for r in requirements}


def test_the_build_needs_only_what_it_asks_for() -> None:
    hidden = names_of(PROJECT["project"]["dependencies"]) - names_of(PROJECT["build-system"]["requires"])
    assert {"click", "vulkan"} <= hidden
    run = subprocess.run([sys.executable, "-c", BUILD_WITHOUT, *sorted(hidden)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) == len(list(catalogue.variants()))


def copy_tree(target: Path) -> None:
    unwanted = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "out", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", ".compiling-*"
    )
    shutil.copytree(ROOT, target, ignore=unwanted)


def build_wheel(source: Path, target: Path, path: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", str(target), str(source)]
    environment = os.environ | {"PATH": path}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel from a copy of the tree under another name, in which old files lie about, and most shaders compiled."""
    compile.compile_all(catalogue.variants())
    place = tmp_path_factory.mktemp("wheel")
    source = place / CHECKOUT
    copy_tree(source)
    (source / "shaders" / "spv").mkdir(exist_ok=True)
    for compiled in sorted((source / "shaders" / "spv").glob("*.spv"))[::40]:
        compiled.unlink()
    (source / "shaders" / "spv" / "old-0123456789abcdef.spv").write_bytes(compile.SPIRV_MAGIC)
    (source / "build" / "lib" / "vkrun").mkdir(parents=True)
    (source / "build" / "lib" / "vkrun" / "old.py").write_text("")
    run = build_wheel(source, place, os.environ["PATH"])
    assert run.returncode == 0, run.stdout + run.stderr
    (made,) = place.glob("vkrun-*-py3-none-any.whl")
    return made


@pytest.fixture(scope="module")
def library(wheel: Path) -> compile.Library:
    """The shaders that the wheel was built from, with what its build compiled of them."""
    sources = wheel.parent / CHECKOUT / "shaders"
    return compile.Library(sources, (sources / "spv",))


@pytest.mark.full
def test_the_wheel_carries_what_runs_and_no_more(wheel: Path, library: compile.Library) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    spv = {n.removeprefix("vkrun/shaders/spv/").removesuffix(".spv") for n in names if n.endswith(".spv")}
    assert spv == {library.key(*v) for v in catalogue.variants() if library.available(*v)}
    assert {"vkrun/py.typed", "vkrun/shaders/common/common.glsl", "vkrun/__init__.py"} <= set(names)
    assert any(n.endswith("licenses/LICENSE") for n in names)
    sources = {f"vkrun/{p.relative_to(ROOT)}" for p in ROOT.glob("shaders/*/*.*") if p.suffix in {".comp", ".glsl"}}
    sources |= {
        f"vkrun/{p.relative_to(ROOT)}" for f in ("shaders/preludes/*.h", "backends/host/lanes.*") for p in ROOT.glob(f)
    }
    models = {f"vkrun/{p.relative_to(ROOT)}" for p in ROOT.glob("runtime/data/*.gguf")}
    assert sources | models <= set(names)
    unwanted = ("vkrun/setup.py", "vkrun/tests", "vkrun/tools", "vkrun/old.py", "vkrun/build")
    assert [n for n in names if n.startswith(unwanted)] == []


@pytest.mark.full
def test_the_wheel_needs_no_compiler(wheel: Path, library: compile.Library, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    command = [sys.executable, "-I", "-c", RUN_FROM_WHEEL, str(tmp_path / "site")]
    environment = {"PATH": "", "HOME": str(tmp_path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    n_spirv, n_texts = map(int, run.stdout.split())
    assert n_spirv == sum(library.available(*v) for v in catalogue.variants())
    assert n_spirv <= n_texts == len(list(catalogue.variants()))
    assert not (tmp_path / ".cache").exists()


def test_building_without_a_compiler_is_one_line(tmp_path: Path) -> None:
    source = tmp_path / "checkout"
    copy_tree(source)
    shutil.rmtree(source / "shaders" / "spv", ignore_errors=True)
    build = (
        "import sys; sys.argv = ['setup.py', '-q', 'build_py', '-d', 'made']; import runpy; runpy.run_path('setup.py')"
    )
    environment = {"PATH": "", "HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", build], cwd=source, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("vkrun's wheel carries compiled shaders: ") and "glslang-tools" in last
    assert "Traceback" not in run.stderr
