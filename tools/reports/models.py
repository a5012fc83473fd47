#!/usr/bin/env python3
"""Writes docs/models.md: every architecture that runs, of what blocks its layers are made, and against what it is held.

    tools/reports/models.py

Blocks are read off the models that tests/models holds: what of a block is left out or as usual is not said. Dispatches
are those of the models of real size in tools/presets.py.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from vkrun.runtime.counts import plan_of
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.ir.ops import OPS
from vkrun.runtime.models import ARCHITECTURES, Architecture, Capacity, open_model
from vkrun.runtime.models.blocks.rope import Rope
from vkrun.runtime.models.decoder import Decoder
from vkrun.tests.models.drawn import Golden
from vkrun.tools.presets import PRESETS
from vkrun.tools.synthesize import model_of

ROOT = Path(__file__).resolve().parents[2]
GOLDEN, FAMILIES = ROOT / "tests/models/golden", ROOT / "tests/models/families"
# those whose layers are another's, told apart by what surrounds the text
AS = {"qwen2vl": "qwen2", "qwen3vl": "qwen3", "qwen3vlmoe": "qwen3moe"}
ROUTING = [op.options for op in OPS.values() if {"score", "activation"} <= op.options.keys()]
N_LAYERS, N_KV = 8, 4096
USUAL = {value for options in ROUTING for value in options.values()}
HEAD = """# Models

Written by `tools/reports/models.py`. A file's `general.architecture` decides; its keys and tensors say the rest. Every
family is held against transformers' own class, one shot, in chunks and token by token, as written and with all passes,
on the models of `tests/models/golden` or `tests/models/families`. Of a block is said what not all of its kind have.
Dispatches are what a token takes in a layer, from the least to the most: planned at sizes of real models in Q4_0, over
4,096 keys, for a usual GPU without cooperative matrices.

`tools/reports/held.py` holds files with weights of their own to what others computed on them. Of 40 that llama.cpp's
converter made, of all these families but seven that are much like others, it says on vulkan (llvmpipe), kompute and cpu
at levels 0 and 3: at most 7e-11 NMSE from transformers, quantised ones too, and 5e-11 between one shot and pieces; of
falcon-h1's 2e-6, as its multipliers stand in F16 weights, rounded (llama.cpp's answer on it is as far off).
With keys and values of F16 (`--cache f16`), which is what a GPU takes for quantised weights and nothing else does by
itself, it says at most 2.7e-6, and 2e-7 between one shot and pieces (deepseek2-lite of 26 layers; 2e-8 of all others).

| architecture | people call it | layers | dispatches | held against |
| --- | --- | --- | --- | --- |
"""


def models() -> Iterator[tuple[str, str, Architecture]]:
    """The tests' models: architecture, file, and what runs it."""
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(FAMILIES.glob("*.npz")):
            golden = Golden.load(path)
            with GGUFFile.open(golden.write(Path(folder) / "a.gguf")) as f:
                yield golden.architecture, f"families/{path.stem}", open_model(f, Capacity(64))
    for path in sorted(GOLDEN.glob("*.gguf")):
        with GGUFFile.open(path) as f:
            yield f.get_str("general.architecture"), f"golden/{path.stem}", open_model(f, Capacity(64))


def layers_of(model: Architecture) -> Sequence[Any]:
    assert isinstance(model, Decoder)
    return model.layers


def blocks(part: Any) -> Iterator[str]:
    """A layer's blocks, with what they have that they need not have."""
    if isinstance(part, tuple | list):
        for each in part:
            yield from blocks(each)
        return
    inner = [getattr(part, f.name) for f in fields(part) if f.name in ("blocks", "block", "first", "second")]
    inner = [each for each in inner if callable(each) or isinstance(each, tuple)]
    made = [text for each in inner if _is_block(each) for text in blocks(each)]
    yield from made or [_told(part)]


def _is_block(part: Any) -> bool:
    return isinstance(part, tuple) or (is_dataclass(part) and ".models." in type(part).__module__)


def _told(part: Any) -> str:
    more: dict[str, None] = {}
    for f in fields(part):
        value = getattr(part, f.name)
        if isinstance(value, Mapping):
            more.update(dict.fromkeys(text for name, v in sorted(value.items()) if (text := _option(name, v))))
        elif (isinstance(value, Rope) or _is_chosen(f.default, value)) and (text := _option(f.name, value)):
            more[text] = None
    return type(part).__name__ + (f" ({', '.join(more)})" if more else "")


def _is_chosen(default: Any, value: Any) -> bool:
    """Of what a block need not have."""
    return default is not MISSING and value != default


def _option(name: str, value: Any) -> str:
    """What is said of it; "" of what is as usual."""
    if name.startswith("shared_"):
        return "one for all tokens, gated" if name == "shared_in" else "one for all tokens"
    if (
        value is None
        or (isinstance(value, Rope) and not value.turns)
        or (isinstance(value, int | float | str) and value in USUAL)
    ):
        return ""
    return f"{name} {value}" if isinstance(value, str) else f"not {name}" if value is False else name.replace("_", " ")


def dispatches(name: str) -> str:
    """The fewest and the most of a layer, by the first preset of an architecture."""
    preset = next(p for p in PRESETS.values() if p.architecture == name)
    nodes = plan_of(model_of(preset, "Q4_0", N_LAYERS, Capacity(N_KV))).nodes
    found = Counter(node.name.split(".")[1] for node in nodes if node.name.startswith("blk.")).values()
    return f"{min(found)}" if min(found) == max(found) else f"{min(found)} to {max(found)}"


def page() -> str:
    found: dict[str, tuple[dict[str, None], list[str]]] = {}
    for name, file, model in models():
        kinds, files = found.setdefault(name, ({}, []))
        kinds.update(dict.fromkeys(text for layer in layers_of(model) for text in blocks(layer)))
        files.append(f"`{file}`")
    rows = []
    for name, made in ARCHITECTURES.items():
        kinds, files = found[AS.get(name, name)]
        held = f"as {AS[name]}" if name in AS else ", ".join(files)
        rows.append(f"| `{name}` | {made.called} | {'; '.join(kinds)} | {dispatches(name)} | {held} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    (ROOT / "docs/models.md").write_text(page())
