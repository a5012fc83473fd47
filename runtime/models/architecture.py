"""Architecture: what the engine sees of a model. Each family of models is one, and nothing else knows of families."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ..errors import UsageError
from ..gguf.file import GGUFFile
from ..ir.dtypes import DType
from ..ir.graph import Graph
from ..ir.layout import Shape
from ..ir.tensor import Kind, Storage, Tensor
from .step import StepInputs, StepShape
from .weights import Weights

WINDOW_ROWS = 32  # of which the rows of a ring are a multiple
POOLINGS = {1: "mean", 2: "cls", 3: "last"}  # by pooling_type


@dataclass(frozen=True)
class Capacity:
    """How much is kept on the device: the keys and values of n_caches sequences of up to n_ctx tokens, and n_states
    recurrent states. Those of a sequence need not stand in slots of one number.

    n_step: most tokens of a sequence that one step reads, by which caches of layers with a window can be shorter; 0
    where these are as long as all others. type_k, type_v: F32, F16 or Q8_0, what keys and values are kept as.
    """

    n_ctx: int
    n_caches: int = 1
    n_states: int = 1
    n_step: int = 0
    type_k: DType = DType.F32
    type_v: DType = DType.F32

    def kept_as(self, k: str, v: str) -> "Capacity":
        """With types by their names, "f16" for F16."""
        return replace(self, type_k=DType[k.upper()], type_v=DType[v.upper()])

    @property
    def cache_types(self) -> tuple[str, str]:
        """Their names."""
        return self.type_k.name.lower(), self.type_v.name.lower()


@dataclass(frozen=True)
class Params:
    """Hyper-parameters that every model has."""

    n_layers: int
    n_vocab: int
    n_ctx_train: int
    width: int
    eps: float


class Architecture(ABC):
    """A model file as weights to upload, memory to allocate and graphs to run.

    `weights` says what is uploaded, `notes` what of the file is not; `caches` [n_caches, n_ctx, ...], those of layers
    with a window [n_caches, n_window_rows, ...] where that is not 0, may hold anything at a sequence's begin, while
    `states` [n_states, ...] must be zeros then; `tail` is how many rows a convolution remembers, 0 without any; window:
    how many keys layers with a window see, 0 without such layers. causal: a token sees those before it, else all of its
    text, and there are no next tokens; pooling: one of POOLINGS, how a text's rows become its embedding.
    """

    name: ClassVar[str]  # general.architecture
    called: ClassVar[str] = ""  # what people call the models of it
    params: Params
    tail: int = 0
    window: int = 0
    notes: tuple[str, ...] = ()
    causal: bool = True
    pooling: str = ""

    def __init__(self, f: GGUFFile, capacity: Capacity) -> None:
        self.capacity = capacity
        self.weights = Weights(f)
        self.caches: list[Storage] = []
        self.states: list[Storage] = []

    @abstractmethod
    def graph(self, inputs: StepInputs) -> Graph:
        """The whole model for one step, whose buffer is the input "step".

        Its one output is "logits" [n_out, n_vocab], or where tokens are drawn the step buffer's "ring", or where it is
        asked for "hidden" [n_out, width]. Where the shape
        says so rows of the input "embeddings" [n_rows, width] may stand in the place of tokens.
        """

    @property
    def n_window_rows(self) -> int:
        """Rows of a sequence in caches of layers with a window, where they are fewer than n_ctx, else 0. Then they are
        a ring, where position p stands in row p % n_window_rows: a step of n_step tokens writes over none that one of
        them sees."""
        room, rows = self.capacity, -(-(self.window + self.capacity.n_step) // WINDOW_ROWS) * WINDOW_ROWS
        return rows if self.window and room.n_step and self.causal and rows < room.n_ctx else 0

    def inputs(self, shape: StepShape, logits: Storage | None = None) -> StepInputs:
        """logits: see StepInputs."""
        return StepInputs(shape, self.tail, logits, self.n_window_rows)

    def cache(self, name: str, sizes: Sequence[int], window: int = 0, values: bool = False) -> Tensor:
        """A cache of one row a token, which holds parts of these sizes, as heads: [n_caches, n_ctx, sum(sizes)], or of
        a layer with a window of as many as it needs; of keys, or of values. UsageError where a part is no whole number
        of the type's blocks."""
        dtype, option = (self.capacity.type_v, "-ctv") if values else (self.capacity.type_k, "-ctk")
        for n in sizes:
            if n % dtype.block:
                kept = f"which {dtype.name.lower()} ({option}) keeps in blocks of {dtype.block}"
                raise UsageError(f"{name}: heads of {n} numbers, {kept}; take f16")
        n_rows = (self.n_window_rows if window else 0) or self.capacity.n_ctx
        return self._lasting(self.caches, name, dtype, (self.capacity.n_caches, n_rows, sum(sizes)))

    def state(self, name: str, n: int) -> Tensor:
        """A recurrent state of n numbers, [n_states, n]."""
        return self._lasting(self.states, name, DType.F32, (self.capacity.n_states, n))

    def _lasting(self, kept: list[Storage], name: str, dtype: DType, shape: Shape) -> Tensor:
        kept.append(Storage(name, Kind.STATE, dtype, shape))
        return kept[-1].tensor()
