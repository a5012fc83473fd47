"""Converts a Hugging Face Qwen3-Next checkpoint into a GGUF file.

Works tensor by tensor, an expert at a time: an 80B checkpoint needs a few hundred megabytes of memory.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from ..errors import ConvertError
from . import qwen3next
from .checkpoint import Checkpoint
from .qwen3next import Spec
from .tokenizer import Vocabulary, read_vocabulary

TYPES = {name.lower(): Type[name] for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4")}
FILE_TYPES = {
    Type.F32: gguf.LlamaFileType.ALL_F32,
    Type.F16: gguf.LlamaFileType.MOSTLY_F16,
    Type.MXFP4: gguf.LlamaFileType.MOSTLY_MXFP4_MOE,
} | {Type[n]: gguf.LlamaFileType[f"MOSTLY_{n}"] for n in ("BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")}

Rule = tuple[re.Pattern[str], Type]
Progress = Callable[[int, int, str], None]  # tensors done, of how many, and the one being written


def chosen_type(spec: Spec, default: Type, rules: Sequence[Rule]) -> Type:
    """The type of a tensor: F32 for vectors, router and convolution; F16 where the rows are no whole blocks."""
    if not spec.quantised:
        return Type.F32
    wanted = next((kind for pattern, kind in rules if pattern.search(spec.name)), default)
    block = gguf.GGML_QUANT_SIZES[wanted][0]
    return wanted if spec.shape[-1] % block == 0 else Type.F16


def n_bytes(shape: tuple[int, ...], kind: Type) -> int:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return int(np.prod(shape, dtype=np.int64)) // block * size


def encode(name: str, part: np.ndarray, kind: Type) -> bytes:
    """The bytes of float32 values in a type. ConvertError on values the type cannot hold."""
    if not np.isfinite(part).all():
        raise ConvertError(f"{name}: {int((~np.isfinite(part)).sum())} values are infinite or NaN")
    if kind == Type.F16 and np.abs(part).max(initial=0) > 65504:
        raise ConvertError(f"{name}: largest value {np.abs(part).max():g}, F16 holds at most 65504")
    return gguf.quantize(np.ascontiguousarray(part, dtype=np.float32), kind).tobytes()


def add_tokenizer(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    for name, index in vocabulary.ids.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", index)
    writer.add_add_bos_token(vocabulary.add_bos)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def add_keys(writer: gguf.GGUFWriter, values: dict[str, int | float | list[bool]]) -> None:
    for key, value in values.items():
        name = f"{qwen3next.ARCH}.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_uint32(name, value)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to: moved there at the end, removed on failure."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_tensors(writer: gguf.GGUFWriter, plan: list[tuple[Spec, Type]], progress: Progress) -> None:
    """The header, then each tensor part by part behind it."""
    for spec, kind in plan:
        writer.add_tensor_info(spec.name, spec.shape, np.dtype(np.float32), n_bytes(spec.shape, kind), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout
    file = writer.fout[0]
    writer.write_padding(file, file.tell())
    for i, (spec, kind) in enumerate(plan):
        progress(i, len(plan), f"{spec.name} {spec.shape} {kind.name}")
        written = sum(file.write(encode(spec.name, part, kind)) for part in spec.parts())
        if written != n_bytes(spec.shape, kind):
            raise ConvertError(f"{spec.name}: {written} bytes, expected {n_bytes(spec.shape, kind)}")
        writer.write_padding(file, written)


def describe(plan: list[tuple[Spec, Type]], source: Checkpoint) -> Iterator[str]:
    """Notes on what a user might not expect."""
    for spec, kind in plan:
        if spec.quantised and kind == Type.F16 and spec.shape[-1] % 32:
            yield f"{spec.name}: rows of {spec.shape[-1]} are no whole blocks, stored as F16"
    unused = qwen3next.left_over(source)
    if draft := [name for name in unused if name.startswith("mtp.")]:
        yield f"{len(draft)} tensors of the draft head (mtp.*) left out"
    for name in sorted(set(unused) - set(draft)):
        yield f"{name}: left out, not known"


def add_general(writer: gguf.GGUFWriter, texts: Mapping[str, str], outtype: str) -> None:
    for key, value in texts.items():
        writer.add_string(f"general.{key}", value)
    writer.add_file_type(FILE_TYPES[TYPES[outtype]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def convert(
    folder: Path,
    out: Path,
    outtype: str,
    rules: Sequence[Rule] = (),
    *,
    name: str | None = None,
    general: Mapping[str, str] | None = None,
    pre: str | None = None,
    tokenizer: bool = True,
    progress: Progress = lambda _done, _total, _name: None,
) -> list[str]:
    """Writes `out` from the checkpoint in `folder` and returns notes. ConvertError says what is wrong with it."""
    source = Checkpoint(folder)
    values = qwen3next.keys(source.config)
    plan = [(spec, chosen_type(spec, TYPES[outtype], rules)) for spec in qwen3next.specs(source)]
    vocabulary = read_vocabulary(source, qwen3next.read_shape(source.config).vocab, pre) if tokenizer else None
    with replacing(out) as part:
        writer = gguf.GGUFWriter(part, qwen3next.ARCH)
        add_general(writer, {"name": name or folder.resolve().name, **(general or {})}, outtype)
        add_keys(writer, values)
        if vocabulary:
            add_tokenizer(writer, vocabulary)
        try:
            write_tensors(writer, plan, progress)
        finally:
            writer.close()
    notes = list(describe(plan, source))
    return notes if vocabulary or not tokenizer else [*notes, "no tokenizer files: the tokenizer's keys are left out"]
