"""Where a device keeps weights, states and inputs: each in a place of its kind's pool."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from ..runtime import config
from ..runtime.errors import BackendError
from ..runtime.ir.tensor import Kind, Storage
from .blocks import BlockPool
from .packing import packed_nbytes

P = TypeVar("P")


class Residents(Generic[P]):
    def __init__(self, pools: Mapping[Kind, BlockPool]) -> None:
        self._pools = pools
        self._places: dict[Storage, P] = {}

    def __iter__(self) -> Iterator[Storage]:
        return iter(self._places)

    def alloc(self, storages: Iterable[Storage]) -> None:
        """Places for those that have none, all or nothing. BackendError when the device has no memory for them."""
        new = [s for s in dict.fromkeys(storages) if s not in self._places]
        if bad := next((s for s in new if s.kind is Kind.TEMP), None):
            raise BackendError(f"{bad.name}: a temporary has no memory of its own; programs bring it")
        try:
            for kind in Kind:
                group = [s for s in new if s.kind is kind]
                places = self._pools[kind].take((s.name, packed_nbytes(s)) for s in group) if group else []
                self._places.update(zip(group, places, strict=True))
        except BackendError:
            self.free(new)
            raise
        held = {kind.value: pool.nbytes for kind, pool in self._pools.items()}
        config.note(1, f"{len(new)} storages of {sum(map(packed_nbytes, new))} bytes, device holds {held}")

    def free(self, storages: Iterable[Storage]) -> None:
        for s in dict.fromkeys(storages):
            if (place := self._places.pop(s, None)) is not None:
                self._pools[s.kind].give([place])

    def place(self, storage: Storage) -> P:
        """BackendError when the storage was never allocated, or given back."""
        found = self._places.get(storage)
        if found is None:
            raise homeless(storage)
        return found

    def clear(self) -> None:
        """Forget them all, whose pools are closed."""
        self._places.clear()


def homeless(storage: Storage) -> BackendError:
    return BackendError(f"{storage.name}: {storage.kind.value} without memory on this device; alloc() it first")
