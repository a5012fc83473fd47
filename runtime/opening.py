"""From a file to a model that fits a device: how many checkpoints, which context, how long caches are."""

from dataclasses import dataclass, replace

from ..backends.base import Device, DeviceInfo
from .arguments import DEFAULT_CACHE_TYPE
from .engine.fits import check_fits, n_ctx_that_fits, needs_text, why_not
from .engine.sizes import sizes_for
from .gguf.file import GGUFFile
from .models import Architecture, Capacity, open_model

CHECKPOINTS = 8, 16  # at least, and at most for each sequence


@dataclass(frozen=True)
class Fitted:
    """A model; what it needs on the device beside what that has free; why its context is smaller than it would be by
    itself, where it is."""

    model: Architecture
    needs: str
    shrunk: str


def cache_type(asked: str, beside: str, f: GGUFFile, info: DeviceInfo) -> str:
    """What keys or values are kept as, where the others are asked for as `beside`: kernels read F16 beside Q8_0."""
    if asked != DEFAULT_CACHE_TYPE:
        return asked
    if beside == "q8_0":
        return "f16"
    return "f16" if not info.is_software and any(t.dtype.is_quantised for t in f.tensors.values()) else "f32"


def with_room(f: GGUFFile, room: Capacity, n_checkpoints: int | None = None) -> Architecture:
    """The file's model, with room for the states of its sequences, for a new one's, and for checkpoints: by default as
    many as a sixteenth of the weights' memory holds."""
    model = open_model(f, room)
    if not model.states:
        return model
    if n_checkpoints is None:
        fewest, most = CHECKPOINTS
        n_checkpoints = model.weights.nbytes // 16 // sum(s.nbytes for s in model.states)
        n_checkpoints = max(fewest, min(n_checkpoints, most * room.n_caches))
    return open_model(f, replace(room, n_states=room.n_caches + 1 + n_checkpoints))


def fitted(
    f: GGUFFile,
    room: Capacity,
    device: Device,
    level: int,
    n_step: int | None,
    shrinks: bool,
    cache_types: tuple[str, str],
) -> Fitted:
    """n_step: of the capacity, None for the longest step that suits the device. shrinks: the context may be smaller.
    cache_types: of keys and of values, as load() takes them. Raises as check_fits does."""
    n_step = sizes_for(device.info.is_software).most if n_step is None else n_step
    kept = (cache_type(*pair, f, device.info) for pair in zip(cache_types, cache_types[::-1], strict=True))
    room, shrunk = replace(room, n_step=n_step).kept_as(*kept), ""
    model = _with_fewer_checkpoints(f, with_room(f, room), device)
    if shrinks and (why := why_not(model, device)):
        n_ctx = n_ctx_that_fits(lambda n: with_room(f, replace(room, n_ctx=n), 1), device, room.n_ctx)
        shrunk = f"a context of {n_ctx} tokens, since {room.n_ctx} are too many for {device.info.name}: {why}"
        model = with_room(f, replace(room, n_ctx=n_ctx), 1) if n_ctx else model
    check_fits(model, lambda n: with_room(f, replace(room, n_ctx=n), 1), device, level)
    return Fitted(model, needs_text(model, device), shrunk)


def _with_fewer_checkpoints(f: GGUFFile, model: Architecture, device: Device) -> Architecture:
    """Where the device has no room for all of them; the model may be too large even so."""
    room = model.capacity
    n_checkpoints = room.n_states - room.n_caches - 1
    while n_checkpoints > 1 and why_not(model, device):
        n_checkpoints //= 2
        model = with_room(f, replace(room, n_states=1), n_checkpoints)
    return model
