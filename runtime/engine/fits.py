"""Whether a model and its context fit a device: asked before anything is uploaded, and answered with what would fit."""

from collections.abc import Callable, Iterable

from ...backends.base import Device
from ..errors import BackendError, UsageError
from ..ir.plan import lean_plan
from ..ir.tensor import Kind, Storage
from ..models.architecture import Architecture
from ..models.step import StepShape
from ..units import size_text
from .sizes import StepSizes, sizes_for

KV_STEP = 256  # tokens of which a context that was chosen by what fits is a multiple
SCRATCH_ROWS = 1 << 15  # of the model's width as floats: about what steps of prompts keep for themselves
ROWS_OF_A_TOKEN = 32  # the same for each token of the largest planned step, with all smaller ones beside it


def check_fits(model: Architecture, build: Callable[[int], Architecture], device: Device, level: int) -> None:
    """`build` gives the same model with room for so many tokens a sequence.

    Raises UsageError, which names the largest context that fits, or BackendError where the model itself is too large.
    """
    n_ctx = model.capacity.n_ctx
    if why := why_not(model, device):
        if why_not(build(1), device):
            raise BackendError(f"{device.info.name}: {why}, even without any context")
        most = _largest(lambda n: not why_not(build(n), device), n_ctx)
        raise UsageError(
            f"a context of {n_ctx} tokens (-c, n_ctx) is too large for {device.info.name}: {why}; "
            f"the largest that fits is {most}"
        )
    _check_weights(model, n_ctx, device, level)


def why_not(model: Architecture, device: Device) -> str:
    """What does not fit of all that lasts as long as the model, in a line; empty where it fits."""
    storages, most = list(_lasting(model)), device.max_binding
    grown = max((s for s in storages if s.kind is not Kind.WEIGHT), key=lambda s: s.nbytes, default=None)
    if most is not None and grown is not None and grown.nbytes > most:
        return f"{grown.name} takes {size_text(grown.nbytes)}, and kernels see at most {size_text(most)} of a buffer"
    wanted, free = sum(s.nbytes for s in storages) + SCRATCH_ROWS * 4 * model.params.width, device.nbytes_free()
    if free is not None and wanted > free:
        return f"{size_text(wanted)} of memory wanted, {size_text(free)} free"
    return ""


def n_ctx_that_fits(build: Callable[[int], Architecture], device: Device, n_ctx: int) -> int:
    """The largest context below n_ctx that fits, of whole steps of keys; 0 where that is none."""
    if why_not(build(KV_STEP), device):
        return 0
    return _largest(lambda n: not why_not(build(n), device), n_ctx) // KV_STEP * KV_STEP


def needs_text(model: Architecture, device: Device) -> str:
    """`weights 7.0 GiB, caches (f16) 1.2 GiB, states 80.0 MiB, steps 320.0 MiB, of 24.0 GiB free`"""
    weights = sum(u.storage.nbytes for u in model.weights.uploads)
    types = "/".join(dict.fromkeys(s.dtype.name.lower() for s in model.caches))
    parts = {"weights": weights, f"caches ({types})": sum(s.nbytes for s in model.caches)}
    parts |= {"states": sum(s.nbytes for s in model.states), "steps": SCRATCH_ROWS * 4 * model.params.width}
    free = device.nbytes_free()
    known = "free memory unknown" if free is None else f"of {size_text(free)} free"
    return ", ".join([*(f"{name} {size_text(n)}" for name, n in parts.items() if n), known])


def sizes_that_fit(model: Architecture, device: Device) -> StepSizes:
    """What steps to plan: as suits the device, without the largest where memory is short beside the model."""
    planned, free = sizes_for(device.info.is_software), device.nbytes_free()
    if free is None:
        return planned
    room = max(free - sum(s.nbytes for s in _lasting(model)), SCRATCH_ROWS * 4 * model.params.width)
    most = room // (ROWS_OF_A_TOKEN * 4 * model.params.width)
    return planned.up_to(max(s for s in planned.sizes if s <= most))


def _largest(fits: Callable[[int], bool], n_ctx: int) -> int:
    """The largest number below n_ctx that fits; 1 does."""
    low, high = 1, n_ctx
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _check_weights(model: Architecture, n_ctx: int, device: Device, level: int) -> None:
    """A weight that is larger than a kernel can see is cut where its op can be: BackendError where it cannot."""
    most = device.max_binding
    if most is None or all(s.nbytes <= most for s in _lasting(model)):
        return
    inputs = model.inputs(StepShape(((1, 1),), n_ctx, 1))
    plan = lean_plan(model.graph(inputs), level, device.supports)
    if why := next((why for node in plan.nodes if (why := device.supports(node))), ""):
        raise BackendError(f"{device.info.name}: {why}")


def _lasting(model: Architecture) -> Iterable[Storage]:
    return [*(u.storage for u in model.weights.uploads), *model.caches, *model.states]
