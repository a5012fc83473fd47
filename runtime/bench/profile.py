"""Where a step's time goes: device time of each kind of kernel against its bytes, its arithmetic and the ceilings."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from ..engine.engine import Ready
from ..errors import UsageError
from ..ir.graph import Node
from ..ir.tensor import Kind
from ..ir.traffic import Traffic, traffic
from .ceilings import Ceilings
from .report import line

N_RUNS = 5
COLUMNS = ("kernel", "n", "us", "share", "MB", "GB/s", "of copy", "MFLOP", "GFLOP/s", "of product")


@dataclass
class KindOfKernel:
    """All dispatches of one kind in a step: how many, their seconds and what they move and compute."""

    name: str
    n: int = 0
    seconds: float = 0.0
    moved: Traffic = Traffic()  # noqa: RUF009 - immutable

    @property
    def nbytes(self) -> int:
        return self.moved.read + self.moved.written


@dataclass(frozen=True)
class Profile:
    """A step of n_tokens tokens of each of n_seqs sequences over n_kv keys, its kinds of kernels, the longest first."""

    n_tokens: int
    n_seqs: int
    n_kv: int
    kinds: tuple[KindOfKernel, ...]
    ceilings: Ceilings

    @property
    def total(self) -> KindOfKernel:
        moved = sum((k.moved for k in self.kinds), Traffic())
        return KindOfKernel("all", sum(k.n for k in self.kinds), sum(k.seconds for k in self.kinds), moved)


def profile(ready: Ready | None, ceilings: Ceilings) -> Profile:
    """Time the engine's last step again, N_RUNS times; each node counts with its median."""
    if ready is None:
        raise UsageError("profile: no step has been run")
    runs = [ready.program.profile() for _ in range(N_RUNS)]
    seconds = [median(times) for times in zip(*runs, strict=True)]
    shape = ready.inputs.shape
    (n_seqs, n_tokens), *_ = shape.groups
    return Profile(n_tokens, n_seqs, shape.n_kv, _grouped(ready.plan.nodes, seconds), ceilings)


def _grouped(nodes: Sequence[Node], seconds: Iterable[float]) -> tuple[KindOfKernel, ...]:
    kinds: dict[str, KindOfKernel] = {}
    for node, taken in zip(nodes, seconds, strict=True):
        kind = kinds.setdefault(kind_of(node), KindOfKernel(kind_of(node)))
        kind.n, kind.seconds, kind.moved = kind.n + 1, kind.seconds + taken, kind.moved + traffic(node)
    return tuple(sorted(kinds.values(), key=lambda k: -k.seconds))


def kind_of(node: Node) -> str:
    """The op, and the type of the matrix that it multiplies by or looks up in."""
    matrices = (t for t in node.inputs if t.storage.kind is Kind.WEIGHT and t.ndim > 1)
    matrix = next(matrices, None)
    return f"{node.op} {matrix.dtype.name}" if matrix else node.op


def lines(made: Profile) -> list[str]:
    """A table of COLUMNS, its last row the whole step. Shares are of the step's device time; `of` columns of the
    device's measured ceilings."""
    rows = [list(COLUMNS), *(_row(k, made) for k in made.kinds), _row(made.total, made)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    marks = ["-" * widths[0], *("-" * (n - 1) + ":" for n in widths[1:])]
    texts = [
        [cells[0].ljust(widths[0]), *(c.rjust(n) for c, n in zip(cells[1:], widths[1:], strict=True))] for cells in rows
    ]
    return [line(cells) for cells in (texts[0], marks, *texts[1:])]


def _row(k: KindOfKernel, made: Profile) -> list[str]:
    seconds, whole = max(k.seconds, 1e-9), max(made.total.seconds, 1e-9)
    byte_rate, flop_rate = k.nbytes / seconds, k.moved.flops / seconds
    computed = (f"{k.moved.flops / 1e6:.2f}", f"{flop_rate / 1e9:.2f}", _percent(flop_rate, made.ceilings.flops_per_s))
    return [
        *(k.name, str(k.n), f"{k.seconds * 1e6:.1f}", _percent(k.seconds, whole)),
        *(f"{k.nbytes / 1e6:.2f}", f"{byte_rate / 1e9:.2f}", _percent(byte_rate, made.ceilings.bytes_per_s)),
        *(computed if k.moved.flops else ("", "", "")),
    ]


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%"


def heading(made: Profile, name: str, opt: int) -> str:
    c = made.ceilings
    return (
        f"{name}, opt {opt}: one step of {made.n_tokens} x {made.n_seqs} tokens over {made.n_kv} keys; this device "
        f"copies {c.bytes_per_s / 1e9:.1f} GB/s and multiplies {c.flops_per_s / 1e9:.1f} GFLOP/s"
    )


def as_object(made: Profile) -> dict[str, object]:
    """The profile for JSON; times in seconds, sizes in bytes."""
    kinds = [
        {"kernel": k.name, "n": k.n, "seconds": k.seconds, **{f"bytes_{w}": getattr(k.moved, w) for w in _MOVED}}
        | {"flops": k.moved.flops}
        for k in (*made.kinds, made.total)
    ]
    shape = {"n_tokens": made.n_tokens, "n_seqs": made.n_seqs, "n_kv": made.n_kv}
    return {**shape, "ceilings": asdict(made.ceilings), "kernels": kinds}


_MOVED = ("read", "written")
