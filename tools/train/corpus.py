"""Python source files -> training documents for demo.py.

A file becomes one document; its short functions and classes become documents of their own (dedented, without comments,
once with and once without docstring), so that the model sees many texts which begin with `def` and end where the
function ends.
"""

import ast
import hashlib
import io
import multiprocessing
import textwrap
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SKIPPED_PARTS = {"site-packages", "dist-packages", "encodings", "pydoc_data", "__pycache__", "config-3", "ensurepip"}
MAX_FILE_BYTES = 250_000
MAX_LINE = 160
PIECE_LINES = {"function": (3, 32), "class": (4, 70)}


@dataclass(frozen=True)
class Source:
    """One source file: text with Unix line ends and no tabs; is_test when it belongs to a test suite."""

    path: str
    text: str
    is_test: bool

    @property
    def held_out(self) -> bool:
        """Two files of a hundred, by a hash of the path: the same ones in every run."""
        return int(hashlib.sha256(self.path.encode()).hexdigest(), 16) % 100 < 2


@dataclass(frozen=True)
class Corpus:
    """Documents by kind; `held_out` is never trained on, nor are its functions."""

    files: list[str]
    tests: list[str]
    pieces: list[str]
    held_out: list[str]


def _is_table(line: str) -> bool:
    """A line of a data table: mostly no letters, or one long literal."""
    stripped = line.strip()
    letters = sum(c.isalpha() for c in stripped)
    return len(line) > MAX_LINE or (len(stripped) > 8 and letters < 0.2 * len(stripped))


def _readable(text: str) -> bool:
    """False for data in Python's clothes: tables, generated parsers, embedded bytes."""
    lines = [line for line in text.split("\n") if line.strip()]
    return len(lines) >= 8 and sum(map(_is_table, lines)) < 0.12 * len(lines)


def _clean(raw: str) -> str:
    lines = [line.rstrip() for line in raw.expandtabs(8).replace("\r\n", "\n").split("\n")]
    return "\n".join(lines).strip("\n") + "\n"


def _read(root: Path, path: Path) -> Source | None:
    if path.stat().st_size > MAX_FILE_BYTES or SKIPPED_PARTS & set(path.relative_to(root).parts):
        return None
    try:
        text = _clean(path.read_text(encoding="utf-8"))
        ast.parse(text)
    except (UnicodeDecodeError, SyntaxError, ValueError):  # deliberate bad files of the test suite
        return None
    name = path.relative_to(root).as_posix()
    is_test = any(part in ("test", "tests", "idle_test") or part.startswith("test_") for part in Path(name).parts)
    return Source(name, text, is_test) if _readable(text) else None


def read_sources(roots: Iterable[Path]) -> list[Source]:
    """All readable .py files under the roots, in a stable order, each text once."""
    found = [(root, path) for root in roots for path in sorted(root.rglob("*.py"))]
    with multiprocessing.Pool() as pool:
        sources = pool.starmap(_read, found, chunksize=16)
    return list({source.text: source for source in sources if source}.values())


def _without_docstring(node: ast.AST, lines: list[str]) -> list[str] | None:
    """The lines of a function or class less its docstring; None where it has none or nothing else."""
    body = getattr(node, "body", [])
    first = body[0] if len(body) > 1 else None
    if not (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    ):
        return None
    start = getattr(node, "lineno", 1) - 1
    end = getattr(node, "end_lineno", 0)
    rest = lines[first.end_lineno : end]
    while rest and not rest[0].strip():
        rest = rest[1:]
    return lines[start : first.lineno - 1] + rest


def _without_comments(text: str) -> str:
    """Comments cut off, and the lines that held nothing else."""
    lines: list[str | None] = list(text.split("\n"))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start[0] - 1, token.start[1]
            lines[row] = (lines[row] or "")[:column].rstrip() or None
    return "\n".join(line for line in lines if line is not None)


def _takes_self(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return isinstance(node, ast.ClassDef) or bool(node.args.args and node.args.args[0].arg in ("self", "cls"))


def _pieces(source: Source) -> Iterator[str]:
    """Plain functions come three times as often as methods: they are rarer in a library than in what is asked for."""
    lines = source.text.split("\n")
    for node in ast.walk(ast.parse(source.text)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith(("test", "Test")):
            continue
        low, high = PIECE_LINES["class" if isinstance(node, ast.ClassDef) else "function"]
        for part in (lines[node.lineno - 1 : node.end_lineno], _without_docstring(node, lines)):
            if not part or any(map(_is_table, part)):
                continue
            text = _without_comments(textwrap.dedent("\n".join(part)).strip("\n") + "\n")
            if low <= text.count("\n") <= high:
                yield from [text] * (1 if _takes_self(node) else 3)


def _pieces_of(source: Source) -> list[str]:
    try:
        return list(_pieces(source))
    except (tokenize.TokenError, SyntaxError):  # a continued line that dedenting has broken
        return []


def _unique_pieces(sources: list[Source]) -> list[str]:
    with multiprocessing.Pool() as pool:
        found = pool.map(_pieces_of, sources, chunksize=8)
    counts = Counter(piece for one in found for piece in one)
    return [piece for piece, count in counts.items() for _ in range(min(count, 3))]


def load_corpus(roots: Iterable[Path]) -> Corpus:
    """Reads, cleans and splits. Tests give few pieces (one in six): they are many and much alike."""
    sources = read_sources(roots)
    trained = [s for s in sources if not s.held_out]
    plain = [s for s in trained if not s.is_test]
    tests = [s for s in trained if s.is_test]
    pieces = _unique_pieces(plain) + _unique_pieces(tests)[::6]
    return Corpus([s.text for s in plain], [s.text for s in tests], pieces, [s.text for s in sources if s.held_out])
