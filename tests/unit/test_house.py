"""How the house stands: imports run straight down, an op's facts are the op's, files and functions are small."""

import ast
from pathlib import Path

import pytest
import vkrun.runtime.ir.composites  # noqa: F401  (declares its ops)
from vkrun.runtime.ir.ops import OPS
from vkrun.tests.unit.sources import (
    BESIDE,
    PACKAGE,
    ROOT,
    between,
    circle,
    files,
    imports,
    keys,
    lengths,
    modules,
    package_of,
    room,
    tree,
)

FILE_LINES, FUNCTION_LINES = 400, 30

# what each room may import, from the ground up: nothing but rooms above it in this list
ROOMS: dict[str, set[str]] = {
    "version": set(),
    "errors": set(),
    "extras": set(),
    "units": set(),
    "config": {"errors"},
    "caches": set(),
    "tuning": {"config", "caches"},
    "ir": {"errors", "config"},
    "gguf": {"errors", "units", "ir"},
    "text": {"errors", "extras", "config"},
    "hub": {"errors", "units", "gguf"},
    "perplexity": {"errors"},
    "convert": {"errors"},
    "shaders": {"errors", "config", "caches", "ir", "tuning"},
    "backends/base": {"errors", "config", "ir", "tuning"},
    "backends/opened": {"errors", "backends/base"},
    "backends/together": {"backends/base"},
    "backends/host_memory": set(),
    "backends/room": {"errors"},
    "backends/runs": set(),
    "backends/blocks": {"errors", "ir", "backends/runs"},
    "backends/staging": set(),
    "backends/work": {"config", "ir"},
    "backends/packing": {"errors", "ir", "shaders"},
    "backends/lowered": {"errors", "ir", "shaders"},
    "backends/tuned": {"ir", "tuning", "shaders", "backends/base", "backends/lowered"},
    "backends/residents": {"errors", "config", "ir", "backends/packing", "backends/blocks"},
    "backends/replayed": {"errors", "ir", "backends/base", "backends/packing"},
    "backends/cpu": {"errors", "ir", "backends/base", "backends/host_memory", "backends/room"},
    "backends/probe": {"config"},
    "arguments": {"errors"},
    "models": {"errors", "ir", "gguf"},
    "picture": {"ir"},
    "counts": {"errors", "arguments", "ir", "gguf", "shaders", "models"},
    "engine": {"errors", "units", "config", "ir", "text", "models", "backends/base"},
}
HOSTS = {"backends/vulkan", "backends/kompute", "backends/host", "backends/cuda", "backends/metal"}
SHARED_BY_HOSTS = {name for name in ROOMS if name.startswith("backends/")} - {"backends/cpu", "backends/probe"}
ROOMS |= {host: {"errors", "extras", "config", "caches", "ir", "tuning", "shaders", *SHARED_BY_HOSTS} for host in HOSTS}
ROOMS["backends/registry"] = {
    *("errors", "config", "backends/base", "backends/probe"),
    *("backends/cpu", *HOSTS),
}
ROOMS["optable"] = {"errors", "ir", "gguf", "backends/base", "backends/cpu", "backends/registry"}
ROOMS["opening"] = {"arguments", "backends/base", "gguf", "models", "engine"}
ROOMS["model"] = {
    *("version", "tuning", "errors", "arguments", "backends/base", "backends/host_memory"),
    *("opening", "gguf", "text", "models", "engine", "backends/registry"),
}
ROOMS["bench"] = {
    "version",
    "tuning",
    "errors",
    "arguments",
    "ir",
    "text",
    "backends/base",
    "models",
    "engine",
    "model",
}
ROOMS["server"] = {
    "version",
    "models",
    "errors",
    "config",
    "arguments",
    "gguf",
    "text",
    "engine",
    "backends/registry",
    "model",
}
ROOMS["cli"] = set(ROOMS) - {"ir", "shaders"}
ROOMS["serve"] = {"server"}
ROOMS["vkrun"] = {"version", "errors", "ir", "text", "counts", "model", "backends/registry"}
ROOMS["__main__"] = {"cli"}
KNOW_NO_OPS = {name for name, below in ROOMS.items() if "ir" not in below} - {"ir"}  # their words may sound like ops

# where an op is declared, a kernel says what it is for, or the op table tries it
DECLARE_OPS = ("runtime/ir/ops/", "runtime/ir/composites/", "shaders/", "runtime/optable/cases_")


def test_imports_run_straight_down() -> None:
    seen: set[str] = set()
    for name, below in ROOMS.items():
        assert below <= seen, f"{name} stands above {below - seen}"
        seen.add(name)
    found = between(imports(), {m: room(m) for m in modules()})
    found = {name: beyond for name, those in found.items() if (beyond := those - ROOMS.get(name, set()))}
    folders = {"runtime", "backends"}  # with nothing in them but a docstring
    assert set(map(room, modules())) - folders == set(ROOMS)
    assert found == {}


def test_no_circle_of_files() -> None:
    assert circle(imports()) == []


def test_no_circle_of_folders_inside_a_room() -> None:
    """A file beside folders counts as one of its own."""
    parents = {package_of(m).rpartition(".")[0] for m in modules()}
    place = {m: m if package_of(m) in parents else package_of(m) for m in modules()}
    assert circle(between(imports(), place)) == []


def test_no_backend_knows_a_kernel() -> None:
    """Of shaders/ the catalogue and what hosts and kernels agree on; never a family, which is a folder with kernels."""
    families = {f"vkrun.shaders.{p.parent.name}" for p in ROOT.glob("shaders/*/kernels.py")}
    assert len(families) > 5
    known = {m: {n for n in those if package_of(n) in families} for m, those in imports().items()}
    found = {m: those for m, those in known.items() if those and m.startswith("vkrun.backends.")}
    assert found == {} and known["vkrun.shaders.catalogue"]


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_commands_and_backends_that_are_loaded_by_name_are_seen() -> None:
    made = imports()
    assert {f"vkrun.runtime.cli.{n}" for n in ("inspect_file", "bench", "ops_matrix")} <= made["vkrun.runtime.cli.main"]
    assert "vkrun.runtime.cli.run" in made["vkrun.runtime.cli.options"]
    assert "vkrun.runtime.model" in made["vkrun"]


@pytest.mark.parametrize("name", modules())
def test_imports_inside_the_package_are_relative_and_at_the_top(name: str) -> None:
    module = tree(modules()[name])
    for node in ast.walk(module):
        absolute = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        absolute += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert not any(a.split(".")[0] == "vkrun" for a in absolute), f"{name}: {absolute}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            hidden = [n.lineno for n in ast.walk(node) if isinstance(n, ast.ImportFrom) and n.level]
            assert hidden == [], f"{name}: imports inside {node.name}"


def asks_by_name(path: Path) -> list[str]:
    module = tree(path)
    public = [n.value for n in ast.walk(module) if isinstance(n, ast.Assign) and _is_all(n.targets[0])]
    spared = {id(e) for value in public for e in ast.walk(value)}
    kept = [n for n in ast.walk(module) if id(n) not in spared]
    return [f"{path.relative_to(ROOT)}:{line}: {word}" for line, word in keys(kept) if word in OPS]


def _is_all(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "__all__"


def test_nothing_but_the_op_itself_keeps_facts_by_its_name() -> None:
    paths = [path for name, path in modules().items() if room(name) not in KNOW_NO_OPS] + files("tools")
    asked = [p for p in paths if not str(p.relative_to(ROOT)).startswith((*DECLARE_OPS, "tools/golden"))]
    assert len(asked) > 100
    assert [found for path in asked for found in asks_by_name(path)] == []


@pytest.mark.parametrize(
    "text", ['T = {"rope": 1}', 'node.op == "rope"', 'op in ("add", "rope")', 'op.startswith("rope")', 'RULES["rope"]']
)
def test_a_table_by_op_name_would_be_found(text: str) -> None:
    assert "rope" in [word for _, word in keys(ast.walk(ast.parse(text)))]


SOURCES = files(*PACKAGE, *BESIDE, suffixes=(".py", ".comp", ".glsl"))


def test_files_are_short() -> None:
    sizes = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES}
    assert {name: n for name, n in sizes.items() if n > FILE_LINES} == {}


def test_functions_are_short() -> None:
    found = [(p, name, n) for p in SOURCES for name, n in lengths(p)]
    assert len(found) > 1000 and {p.suffix for p, _, _ in found} == {".py", ".comp", ".glsl"}
    assert [f"{p.relative_to(ROOT)}: {name}: {n} lines" for p, name, n in found if n > FUNCTION_LINES] == []
