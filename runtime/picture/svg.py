"""The picture as SVG, of nothing but rectangles, lines and text."""

from collections.abc import Iterator
from html import escape

from ..ir.ops import OpKind
from .boxes import Box, Picture, Side
from .ranks import BOX_WIDTH, Placed, place

BOX_HEIGHT, RANK, MARGIN, PANEL_GAP, HEAD = 32, 50, 36, 56, 262
N_CHARS = 27  # of the small line in a box
FILLS = {OpKind.COPY: "#fbd1b7", OpKind.FUSED: "#bfe0f5", OpKind.PRODUCT: "#e6e1f4", OpKind.PLAIN: "#f4f4f2"}
EDGES = {OpKind.COPY: "#c8500b", OpKind.FUSED: "#1273ae", OpKind.PRODUCT: "#7a68b3", OpKind.PLAIN: "#9a9a94"}
LEGEND = {
    OpKind.COPY: "copy: moves elements, computes nothing",
    OpKind.FUSED: "fused: several steps in one dispatch",
    OpKind.PRODUCT: "product",
    OpKind.PLAIN: "other step",
}
STYLE = (
    "text{font-family:system-ui,'DejaVu Sans',Helvetica,Arial,sans-serif;fill:#22262b}"
    ".h1{font-size:22px;font-weight:600}.h2{font-size:15px;font-weight:600}.t{font-size:12.5px}"
    ".op{font-size:11.5px;font-weight:600;text-anchor:middle}.d{font-size:9px;text-anchor:middle;fill:#5a6068}"
    ".n{font-size:12.5px;text-anchor:end}.m{fill:#5a6068}.line{fill:none;stroke:#a9b0b8;stroke-width:1.1}"
)
TITLES = {
    "nodes": "nodes",
    "dispatches": "dispatches",
    "copies": "copies",
    "copy_bytes": "copied",
    "barriers": "barriers",
    "arena_bytes": "arena",
    "bytes_read": "read",
    "bytes_written": "written",
}


def svg(picture: Picture) -> str:
    """The whole document: counts and legend, then each sort of layer before and after."""
    panels, x = [], float(MARGIN)
    deepest = 0
    for number, sort in picture.shown:
        for made in (picture.before, picture.after):
            boxes = made.layer(number)
            placed = place(boxes)
            lines = [f"layer {number}, {sort}: opt {made.opt}", _panel_text(boxes)]
            panels.append(_panel(x, lines, boxes, placed))
            x += max(placed.width, 190.0) + PANEL_GAP
            deepest = max(deepest, placed.n_ranks)
    width, height = max(x - PANEL_GAP + MARGIN, 1000), HEAD + 70 + deepest * RANK + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
    head += f'viewBox="0 0 {width:.0f} {height}"><style>{STYLE}</style>'
    back = f'<rect width="{width:.0f}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, back, *_header(picture), *(text for panel in panels for text in panel), "</svg>", ""])


def _header(picture: Picture) -> Iterator[str]:
    yield _text(MARGIN, 48, picture.model, "h1")
    step = f"one step of the whole model: {_number(picture.n_tokens, 'token')} of {_number(picture.n_seqs, 'sequence')}"
    yield _text(MARGIN, 72, f"{step}, {picture.n_kv} keys", "t m")
    yield from _legend(MARGIN, 100)
    yield from _counts(MARGIN, 140, [picture.before, picture.after])


def _legend(x: float, y: float) -> Iterator[str]:
    for kind, text in LEGEND.items():
        yield _rect(x, y - 11, 22, 14, kind)
        yield _text(x + 29, y, text, "t")
        x += 62 + 6.6 * len(text)


def _counts(x: float, y: float, sides: list[Side]) -> Iterator[str]:
    for row, made in enumerate(sides):
        yield _text(x, y + 24 + 22 * row, f"opt {made.opt}", "h2")
    for column, (key, title) in enumerate(TITLES.items()):
        right = x + 150 + 105 * column
        yield _text(right, y, title, "n m")
        for row, made in enumerate(sides):
            yield _text(right, y + 24 + 22 * row, count_text(key, made.counts[key]), "n")
    yield f'<path class="line" d="M{x} {y + 62}H{x + 150 + 105 * (len(TITLES) - 1)}"/>'


def count_text(key: str, n: int) -> str:
    """A count, or bytes in MB."""
    return f"{n / 1e6:,.2f} MB" if key == "copy_bytes" or "bytes" in key else f"{n:,}"


def _panel_text(boxes: list[Box]) -> str:
    n_copies = sum(b.kind == OpKind.COPY for b in boxes)
    return f"{len(boxes)} dispatches, {n_copies} of them copies" if n_copies else f"{len(boxes)} dispatches, no copy"


def _number(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _panel(x: float, lines: list[str], boxes: list[Box], placed: Placed) -> Iterator[str]:
    top = HEAD + 60
    yield _text(x, HEAD, lines[0], "h2")
    yield _text(x, HEAD + 20, lines[1], "t m")
    for points in placed.lines:
        yield _curve([(x + px, top + rank * RANK) for px, rank in points])
    for box in boxes:
        cx, rank = placed.centres[box.index]
        yield from _box(x + cx, top + rank * RANK, box)


def _box(cx: float, cy: float, box: Box) -> Iterator[str]:
    yield f"<g><title>{_safe(title_of(box))}</title>"
    yield _rect(cx - BOX_WIDTH / 2, cy - BOX_HEIGHT / 2, BOX_WIDTH, BOX_HEIGHT, box.kind)
    yield _text(cx, cy - 2, box.op, "op")
    yield _text(cx, cy + 10, detail_of(box), "d") + "</g>"


def detail_of(box: Box) -> str:
    """The weight that it works with, or its result's shape; for a fused one the steps that it stands for."""
    weight = box.weight.removeprefix(f"blk.{box.layer}.").removesuffix(".weight")
    parts = f" · {box.n_parts} in 1" if box.n_parts > 1 and box.kind == OpKind.FUSED else ""
    detail, room = weight or " x ".join(map(str, box.shape)), N_CHARS - len(parts)
    return (detail if len(detail) <= room else detail[: room - 1] + "…") + parts


def title_of(box: Box) -> str:
    return f"{box.name}: {' x '.join(map(str, box.shape))}, reads {box.moved.read} B, writes {box.moved.written} B"


def _curve(points: list[tuple[float, float]]) -> str:
    """From box to box through the bends, vertical at each."""
    (x, y), *rest = points
    path = f"M{x:.1f} {y:.1f}"
    for nx, ny in rest:
        middle = (y + ny) / 2
        path += f"C{x:.1f} {middle:.1f} {nx:.1f} {middle:.1f} {nx:.1f} {ny:.1f}"
        x, y = nx, ny
    return f'<path class="line" d="{path}"/>'


def _rect(x: float, y: float, width: float, height: float, kind: OpKind) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="4"'
    return f'<rect {size} fill="{FILLS[kind]}" stroke="{EDGES[kind]}"/>'


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{_safe(text)}</text>'


def _safe(text: str) -> str:
    """Names come from the file: what XML cannot hold becomes `?`."""
    return escape("".join(c if c.isprintable() else "?" for c in text))
