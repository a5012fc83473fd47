"""The picture for programs: JSON with every node, dot with the shown layers, and the counts as lines of text."""

import json
from collections.abc import Iterator

from .boxes import Box, Picture, Side
from .svg import EDGES, FILLS, TITLES, count_text, detail_of


def as_json(picture: Picture) -> str:
    """One object: `counts` are those after the passes; `before` and `after` hold their own, and every node."""
    step = {"model": picture.model, "n_tokens": picture.n_tokens, "n_seqs": picture.n_seqs, "n_kv": picture.n_kv}
    shown = [{"layer": layer, "sort": sort} for layer, sort in picture.shown]
    sides = {"before": _side(picture.before), "after": _side(picture.after)}
    return (
        json.dumps({**step, "opt": picture.after.opt, "counts": picture.after.counts, "shown": shown, **sides}) + "\n"
    )


def _side(made: Side) -> dict[str, object]:
    return {"opt": made.opt, "counts": made.counts, "nodes": [_node(b) for b in made.boxes]}


def _node(b: Box) -> dict[str, object]:
    """`inputs`: numbers of the nodes whose output it reads."""
    return {
        "number": b.index,
        "op": b.op,
        "name": b.name,
        "kind": b.kind,
        "layer": b.layer,
        "weight": b.weight,
        "shape": list(b.shape),
        "n_parts": b.n_parts,
        "inputs": list(b.feeds_on),
        "bytes_read": b.moved.read,
        "bytes_written": b.moved.written,
    }


def as_dot(picture: Picture) -> str:
    """The shown layers for Graphviz, a cluster each."""
    return "\n".join(["digraph {", *_dot_lines(picture), "}", ""])


def _dot_lines(picture: Picture) -> Iterator[str]:
    yield f"  label={_quoted(picture.model)}; labelloc=t; fontname=sans;"
    yield '  node [shape=box, style="filled,rounded", fontname=sans, fontsize=10];'
    for number, sort in picture.shown:
        for made in (picture.before, picture.after):
            yield f"  subgraph cluster_{number}_{made.opt} {{"
            yield f"    label={_quoted(f'layer {number}, {sort}: opt {made.opt}')};"
            yield from _dot_layer(made.layer(number), f"n{number}_{made.opt}_")
            yield "  }"


def _dot_layer(boxes: list[Box], prefix: str) -> Iterator[str]:
    there = {b.index for b in boxes}
    for b in boxes:
        text = f"{b.op}\n{detail_of(b)}"
        look = f'fillcolor="{FILLS[b.kind]}", color="{EDGES[b.kind]}"'
        yield f"    {prefix}{b.index} [label={_quoted(text)}, {look}];"
        yield from (f"    {prefix}{j} -> {prefix}{b.index};" for j in b.feeds_on if j in there)


def _quoted(text: str) -> str:
    clean = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def count_rows(picture: Picture) -> list[list[str]]:
    """A title row, then a row a level."""
    sides = (picture.before, picture.after)
    rows = [[f"opt {s.opt}", *(count_text(key, s.counts[key]) for key in TITLES)] for s in sides]
    return [["", *TITLES.values()], *rows]
