"""What a file has and its model does not use: harmless, and then told of, or a change of results, and then refused."""

import re
from collections.abc import Iterator

from gguf import MODEL_TENSOR, TENSOR_NAMES

from ..errors import ModelError
from ..gguf.file import GGUFFile
from ..gguf.keys import printable
from .architecture import Architecture

_BLOCK = re.compile(r"blk\.(\d+)\.(.+)", re.DOTALL)
_ENDING = re.compile(r"\.(weight|bias|scale)$")
# old files' frequencies of rotary embedding beside its base, what activations may be quantised by, heads of classifiers
_HARMLESS = re.compile(r"blk\.\d+\.attn_rot_embd\.weight|.*\.input_scale|(cls|pooler)\b.*", re.DOTALL)


def notes_of(f: GGUFFile, model: Architecture) -> tuple[str, ...]:
    """A line for each kind of tensors that the model does without. ModelError names one that changes results: of a name
    that GGUF has for weights, or a bias or a factor."""
    drafting: list[str] = []
    harmless: list[str] = []
    for name in f.tensors:
        if name in model.weights.used:
            continue
        if _block_of(name) >= model.params.n_layers:
            drafting.append(name)
        elif _changes_results(name):
            raise ModelError(f"{printable(name)}: not used by {model.name} here, but a tensor that changes results")
        else:
            harmless.append(name)
    return tuple(_lines(f, drafting, harmless))


def _lines(f: GGUFFile, drafting: list[str], harmless: list[str]) -> Iterator[str]:
    if drafting:
        blocks = ", ".join(f"blk.{i}" for i in sorted({_block_of(name) for name in drafting}))
        nbytes = sum(f.tensors[name].nbytes for name in drafting)
        yield f"draft heads are not run: {blocks}, {len(drafting)} tensors, {nbytes / 2**20:.1f} MiB"
    if harmless:
        named = printable(", ".join(harmless), 400)
        yield f"{len(harmless)} tensors are not used: {named}"


def _block_of(name: str) -> int:
    """-1 outside of blocks."""
    found = _BLOCK.fullmatch(name)
    return int(found[1]) if found else -1


def _changes_results(name: str) -> bool:
    if _HARMLESS.fullmatch(name):
        return False
    found = _BLOCK.fullmatch(name)
    stem = _ENDING.sub("", f"blk.{{bid}}.{found[2]}" if found else name)
    return stem in _KNOWN or name.endswith((".bias", ".scale"))


_KNOWN = {TENSOR_NAMES[t] for t in MODEL_TENSOR}
