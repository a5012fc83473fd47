"""What is said where memory runs out, and asking for what is not there prevented."""

from collections.abc import Iterable

from ..runtime.errors import BackendError

MIB = 1 << 20


def no_room(device: str, name: str, nbytes: int, left: int, free: int | None, whole: int = 0) -> BackendError:
    """For `name`, which wants nbytes (`left` with what follows) of what is free of the whole, 0 where no one knows."""
    known = "free memory unknown" if free is None else f"{free / MIB:.1f} MiB free"
    of = f", of {whole / MIB:.1f} MiB in all" if whole else ""
    return BackendError(
        f"{device}: out of memory for {name}: {nbytes / MIB:.1f} MiB wanted "
        f"({max(left, nbytes) / MIB:.1f} MiB with what follows), {known}{of}"
    )


def require_room(device: str, wanted: Iterable[tuple[str, int]], free: int, whole: int = 0) -> None:
    """BackendError when (name, bytes) are more than is free, for APIs that hand out memory that is not there: the
    process dies when it touches it."""
    sizes = [(nbytes, name) for name, nbytes in wanted]
    left = sum(nbytes for nbytes, _ in sizes)
    if left > free:
        most, name = max(sizes)
        raise no_room(device, name, most, left, free, whole)
