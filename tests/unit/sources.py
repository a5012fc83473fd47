"""The sources of the package as trees: which file imports which, what rooms there are, how long functions are."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from vkrun.runtime.cli import commands, main

ROOT = Path(__file__).parents[2]
PACKAGE, BESIDE = ("runtime", "serve", "shaders", "backends"), ("tests", "tools")
Edges = Mapping[str, set[str]]


def files(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    """Sources in folders of the checkout, and those that lie at its root."""
    found = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in suffixes]
    return sorted([*found, *(p for p in ROOT.glob("*.py") if p.suffix in suffixes)])


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def modules() -> dict[str, Path]:
    """The package's modules by name, `vkrun` being the root."""
    paths = [p for p in files(*PACKAGE) if p.name != "setup.py"]
    names = [".".join(("vkrun", *p.relative_to(ROOT).with_suffix("").parts)) for p in paths]
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


def package_of(name: str) -> str:
    return name if modules()[name].name == "__init__.py" else name.rpartition(".")[0]


@cache
def imports() -> Edges:
    """For each module those that it imports, be it as the file is read or when a command or a backend is wanted."""
    return {name: {m for m in (*_at_once(name), *_lazily(name)) if m in modules() and m != name} for name in modules()}


def _at_once(name: str) -> Iterator[str]:
    for node in ast.walk(tree(modules()[name])):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package_of(name).split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (m if (m := f"{base}.{alias.name}") in modules() else base for alias in node.names)


def _lazily(name: str) -> Iterator[str]:
    """Modules that a file which calls import_module has the names of, and the commands that `main` loads by theirs."""
    nodes, package = list(ast.walk(tree(modules()[name]))), package_of(name)
    if any(isinstance(n, ast.Name) and n.id == "import_module" for n in nodes):
        words = {n.value.partition(":")[0] for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        words |= {main._MODULES.get(c, c) for c in commands.COMMANDS} if name == main.__name__ else set()
        found = {m for word in words if word for m in (word, f"{package}.{word.lstrip('.')}")}
        yield from (m for m in found if not name.startswith(m))


def circle(edges: Edges) -> list[str]:
    """A way from a node back to itself; empty when there is none."""
    done: set[str] = set()

    def search(at: str, way: list[str]) -> list[str]:
        if at in way:
            return [*way[way.index(at) :], at]
        if at in done:
            return []
        found = next((c for after in sorted(edges.get(at, ())) if (c := search(after, [*way, at]))), [])
        done.add(at)
        return found

    return next((c for start in sorted(edges) if (c := search(start, []))), [])


def room(name: str) -> str:
    """Of a module: its first folder below vkrun or runtime, or the file itself where it lies there."""
    parts = name.split(".")[1:]
    return "/".join(parts[: 2 if parts[:1] in (["runtime"], ["backends"]) else 1]).removeprefix("runtime/") or "vkrun"


def between(edges: Edges, place: Mapping[str, str]) -> dict[str, set[str]]:
    """The edges between places, each node having one."""
    found: dict[str, set[str]] = {}
    for a, bs in edges.items():
        found.setdefault(place[a], set()).update(place[b] for b in bs if place[b] != place[a])
    return found


def lengths(path: Path) -> Iterator[tuple[str, int]]:
    """Functions and their lines; a docstring is not counted."""
    yield from _python_lengths(path) if path.suffix == ".py" else _shader_lengths(path.read_text(encoding="utf-8"))


def _python_lengths(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            first = node.body[0]
            doc = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) and first.end_lineno else 0
            yield node.name, node.end_lineno - node.lineno + 1 - doc


def _shader_lengths(text: str) -> Iterator[tuple[str, int]]:
    """Of GLSL: from a line at the margin with a name and a bracket to the brace that closes it at the margin."""
    start, name = 0, ""
    for i, line in enumerate(text.splitlines()):
        if m := re.match(r"(?!layout)\w+ (\w+)\(", line):
            start, name = i, m[1]
        elif line.startswith("}") and name:
            yield name, i - start + 1
            name = ""


def keys(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    """Strings by which code tells things apart: keys of tables, what is compared, members of sets and lists."""
    for node in nodes:
        for part in _told_apart(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.lineno, part.value


def _told_apart(node: ast.AST) -> Iterable[ast.AST | None]:
    match node:
        case ast.Dict():
            return node.keys
        case ast.Set() | ast.List() | ast.Tuple():
            return node.elts
        case ast.Compare():
            return (node.left, *node.comparators)
        case ast.Subscript() if not (isinstance(node.value, ast.Name) and node.value.id == "OPS"):
            return (node.slice,)
        case ast.MatchValue():
            return (node.value,)
        case ast.Call(func=ast.Attribute(attr="startswith" | "endswith" | "get" | "removeprefix" | "removesuffix")):
            return node.args
    return ()
