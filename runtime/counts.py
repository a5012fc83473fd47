"""counts: how lean a plan is, in numbers. From a file's header alone: no weight is read, no device is opened."""

import os

from ..shaders.catalogue import refusal
from ..shaders.kernel import Features
from .arguments import CACHE_TYPES, check_cache_types
from .errors import UsageError
from .gguf.file import GGUFFile
from .ir.counts import counts_of
from .ir.plan import Plan, lean_plan
from .models import Architecture, Capacity, open_model
from .models.step import StepShape

# what GPUs of the last years offer; cooperative matrices, which only some have, left out
USUAL_GPU = Features(
    subgroup_size=32,
    float16=True,
    int_dot=True,
    delta_chunks=True,
    shared_nbytes=32768,
    max_workgroup=1024,
)


def counts(
    path: str | os.PathLike[str],
    opt: int = 3,
    n_tokens: int = 1,
    n_seqs: int = 1,
    n_kv: int = 4096,
    features: Features | None = None,
    cache_type: str = "f16",
) -> dict[str, int]:
    """counts_of the plan for one step of a model: n_tokens tokens of each of n_seqs sequences over n_kv keys.

    With n_tokens 1 it is the step that decodes, the next token drawn on the device. features: of the device planned
    for; a usual GPU's by default. cache_type: of keys and values. Raises GGUFError or ModelError for a bad file.
    """
    return counts_of(plan_step(path, opt, n_tokens, n_seqs, n_kv, features, cache_type))


def plan_step(
    path: str | os.PathLike[str],
    opt: int = 3,
    n_tokens: int = 1,
    n_seqs: int = 1,
    n_kv: int = 4096,
    features: Features | None = None,
    cache_type: str = "f16",
) -> Plan:
    """The plan that `counts` counts; a file whose data section is a hole is enough."""
    numbers = {"opt": (opt, 0, 3), "n_tokens": (n_tokens, 1, 1 << 16), "n_seqs": (n_seqs, 1, 256)}
    numbers["n_kv"] = n_kv, n_tokens, 1 << 24
    for name, (value, low, high) in numbers.items():
        if not low <= value <= high:
            raise UsageError(f"{name}: {value}, expected {low} to {high}")
    check_cache_types(CACHE_TYPES, cache_type=cache_type)
    room = Capacity(n_kv, n_seqs, n_seqs).kept_as(cache_type, cache_type)
    with GGUFFile.open(path, header_only=True) as f:
        return plan_of(open_model(f, room), opt, n_tokens, features)


def plan_of(model: Architecture, opt: int = 3, n_tokens: int = 1, features: Features | None = None) -> Plan:
    """Of a step over all that a model's caches hold, of as many sequences as there are."""
    n_kv, n_seqs = model.capacity.n_ctx, model.capacity.n_caches
    shape = StepShape(((n_seqs, n_tokens),), n_kv, n_seqs, n_drawn=1 if n_tokens == 1 else 0)
    graph = model.graph(model.inputs(shape))
    offered = features or USUAL_GPU
    return lean_plan(graph, opt, lambda node: refusal(node, offered))
