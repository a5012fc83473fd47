"""What a backend is: a dozen methods and no op names. Others add one through the entry point `vkrun.backends`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..runtime import config
from ..runtime.errors import BackendError
from ..runtime.ir.graph import Node
from ..runtime.ir.plan import Plan
from ..runtime.ir.tensor import Storage, Tensor
from ..runtime.tuning import Tuning


@dataclass(frozen=True)
class DeviceInfo:
    """One device as a backend sees it. Memory in bytes; `missing` says in a line what keeps it from running."""

    backend: str
    index: int
    name: str
    driver: str = ""
    kind: str = "cpu"  # "discrete gpu", "integrated gpu", "virtual gpu", "cpu"
    uuid: str = ""
    memory: int = 0
    memory_free: int | None = None
    features: Mapping[str, object] = field(default_factory=dict)
    missing: str = ""

    @property
    def is_software(self) -> bool:
        return self.kind == "cpu"


class Program(ABC):
    """A plan compiled for one device. Its temporaries belong to it; weights, states and inputs to the device."""

    @abstractmethod
    def run(self) -> None:
        """Execute the plan once and wait for it. Raises BackendError when the device is lost."""

    def submit(self) -> None:
        """Begin to execute the plan, after what was submitted before; wait() for it later. At most two may be begun.

        A backend that cannot run behind the host's back runs here.
        """
        self.run()

    def wait(self) -> None:
        """Wait for the oldest submit() that was not yet waited for."""
        return

    @abstractmethod
    def read(self, tensor: Tensor) -> np.ndarray:
        """An output of the plan's graph, after run(): an array of its shape and numpy dtype, the caller's own."""

    @abstractmethod
    def profile(self) -> list[float]:
        """Run once and return the seconds that each of the plan's nodes took on the device."""

    @abstractmethod
    def close(self) -> None:
        """Give the program's memory back. Idempotent."""


def noted(plan: Plan, seconds: list[float]) -> list[float]:
    """What profile() returns, with a line a node under VKRUN_DEBUG=2."""
    for node, s in zip(plan.nodes, seconds, strict=True):
        config.note(2, f"{s * 1e6:10.1f} us  {node}")
    return seconds


Progress = Callable[[int, int], None]  # kernels that are ready, of how many


@dataclass(frozen=True)
class Rules:
    """What planning asks of a device, as a value that another process can be given: supports(), and what compile()
    makes of a plan first, which Plan.lowered may hold. BackendError as compile() raises it."""

    supports: Callable[[Node], str]
    lower: Callable[[Plan], object]


class Device(ABC):
    """An open device: memory for storages, and programs over them.

    `on_compile` is told how far compile() is, where it takes its time; `max_binding` is how many bytes of a storage one
    dispatch can see, None where that is no limit.
    """

    info: DeviceInfo
    compiles = True  # are kernels made for it, so that a first step takes longer?
    compiles_beside = False  # may compile(), and alloc() of inputs, go on in one thread while another runs programs?
    on_compile: Progress | None = None
    max_binding: int | None = None

    def nbytes_free(self) -> int | None:
        """Memory that is left, in bytes; None where no one knows."""
        return self.info.memory_free if self.info.memory_free is not None else self.info.memory or None

    @abstractmethod
    def supports(self, node: Node) -> str:
        """Empty when the device can run the node; otherwise what it cannot take, in a line."""

    def rules(self) -> Rules | None:
        """What it goes by now; None where that can be told to no other process."""
        return None

    def tune(self, tuning: Tuning) -> None:
        """Choose kernels by these thresholds from the next plan on, where the device has kernels to choose from."""
        return

    def kernels(self, plan: Plan) -> tuple[object, ...]:
        """What tells apart two plans whose kernels differ; nothing where there are none to choose from."""
        return ()

    def require(self, plan: Plan) -> None:
        """BackendError names the first node that the device cannot run."""
        for node in plan.nodes:
            if why := self.supports(node):
                raise BackendError(f"{node.name or node.op}: {why}")

    @abstractmethod
    def alloc(self, storages: Iterable[Storage]) -> None:
        """Memory for weights, states and inputs; states and inputs start as zeros. BackendError when there is none."""

    @abstractmethod
    def free(self, storages: Iterable[Storage]) -> None:
        """Give memory back; no program over these storages may run again."""

    @abstractmethod
    def write(self, storage: Storage, data: np.ndarray, row: int = 0) -> None:
        """Fill rows of the last axis from `row` on. Plain numbers: an array of the storage's numpy dtype, a
        whole number of rows; block types: uint8 in GGUF's own block layout, [n_rows, row_nbytes]. Several threads may
        write to different storages at once."""

    @abstractmethod
    def read(self, storage: Storage, row: int = 0, n_rows: int | None = None) -> np.ndarray:
        """A storage of plain numbers: n_rows rows of its last axis from `row` on, [n_rows, width], or all of it in its
        shape. For tests, and for states that are kept elsewhere."""

    @abstractmethod
    def compile(self, plan: Plan) -> Program:
        """Make a plan ready to run any number of times. BackendError names the first node it cannot take."""

    def make_kernels(self, plan: Plan) -> None:
        """Make what compile(plan) would otherwise wait for, by any thread and beside programs that run. BackendError as
        compile() raises it."""
        return

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Idempotent; programs of the device are dead afterwards."""


class Backend(ABC):
    """A device API."""

    name: str

    @abstractmethod
    def devices(self) -> list[DeviceInfo]:
        """The devices there are, best first; never raises for want of one."""

    @abstractmethod
    def why_missing(self) -> str:
        """Empty when the backend can be used; otherwise what is missing and how to get it, in a line."""

    @abstractmethod
    def open(self, info: DeviceInfo) -> Device:
        """Open one of devices()."""
