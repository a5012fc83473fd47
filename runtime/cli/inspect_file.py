"""`vkrun inspect`: what stands in a GGUF file. Nothing of it is run, and no device is touched."""

import json
import math
from typing import Any

import click
import numpy as np

from ..gguf.describe import KEY_COLUMNS, TENSOR_COLUMNS, TOTAL_COLUMNS, key_rows, summary_line, tensor_rows, total_rows
from ..gguf.file import GGUFFile
from .hub_options import FromHub, with_hub
from .model_paths import model_path
from .screen import columns


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", metavar="[MODEL.gguf]", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with every array in full.")
@with_hub
def command(model: str | None, as_json: bool, hub: FromHub) -> None:
    """Print a GGUF file's keys, tensors and sizes."""
    with GGUFFile.open(model_path(model, hub, "vkrun inspect MODEL.gguf")) as f:
        click.echo(json.dumps(_as_object(f), allow_nan=False) if as_json else _as_text(f))


def _as_text(f: GGUFFile) -> str:
    """Plain columns: a file's strings pass no markup, and a narrow terminal wraps rather than cuts."""
    parts = [
        summary_line(f),
        columns([KEY_COLUMNS, *key_rows(f)]),
        columns([TENSOR_COLUMNS, *tensor_rows(f)], right=(3,)),
        columns([TOTAL_COLUMNS, *total_rows(f)], right=(1, 2, 3)),
    ]
    return "\n\n".join(parts)


def _as_object(f: GGUFFile) -> dict[str, Any]:
    """Shapes in numpy's order, offsets and sizes in bytes."""
    tensors = [
        {"name": t.name, "shape": t.shape, "type": t.dtype.name, "offset": t.offset, "nbytes": t.nbytes}
        for t in f.tensors.values()
    ]
    keys = {key: {"type": f.types[key], "value": _plain(value)} for key, value in f.keys.items()}
    head = {"path": f.path, "version": f.version, "size": f.size, "alignment": f.alignment}
    return {**head, "keys": keys, "tensors": tensors}


def _plain(value: Any) -> Any:
    """A value that JSON has; NaN and infinities, which it lacks, as strings."""
    if isinstance(value, np.ndarray | list):
        return [_plain(v) for v in (value.tolist() if isinstance(value, np.ndarray) else value)]
    value = value.item() if isinstance(value, np.generic) else value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
