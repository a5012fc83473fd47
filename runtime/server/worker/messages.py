"""Messages between the server's process and a worker's: what there is, and its bytes.

A message is its length, 4 bytes with the least first, and a pickle that may name the classes below and nothing else.
"""

import io
import pickle
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import VkrunError
from ...model import ModelInfo
from ...text.sampler import SamplerSettings
from .. import jobs
from ..jobs import Event, Job
from .options import WorkerOptions

N_LENGTH, MAX_BYTES = 4, 64 << 20


@dataclass(frozen=True)
class Start:
    """The first one. index: of the process among its replicas."""

    options: WorkerOptions
    index: int


@dataclass(frozen=True)
class Run:
    job: Job


@dataclass(frozen=True)
class Cancel:
    id: str


@dataclass(frozen=True)
class Hold:
    """Give no more of a job's tokens (on: False: go on), as nobody reads them."""

    id: str
    on: bool


@dataclass(frozen=True)
class SlotAct:
    """n: tells one from another."""

    n: int
    what: Literal["save", "restore", "erase"]
    slot: int
    path: str


@dataclass(frozen=True)
class Stop:
    """Leave all work and end."""


@dataclass(frozen=True)
class Loading:
    """As a load's progress says it; a sign of life."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Ready:
    info: ModelInfo


@dataclass(frozen=True)
class Given:
    """What came of a step: events by the ids of their jobs, and which jobs sit in which slots now."""

    events: tuple[tuple[str, Event], ...]
    seats: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class SlotDone:
    """error: why nothing was done, empty where it was."""

    n: int
    n_tokens: int
    error: str = ""


@dataclass(frozen=True)
class Died:
    """The last one: what the process ends of. own: the error is one of a file or of options, which stays."""

    error: str
    own: bool = False


Command = Start | Run | Cancel | Hold | SlotAct | Stop
Answer = Loading | Ready | Given | SlotDone | Died

_CLASSES = (Start, Run, Cancel, Hold, SlotAct, Stop, Loading, Ready, Given, SlotDone, Died)
_VALUES = (jobs.Job, jobs.Grammar, jobs.Likely, jobs.Usage, jobs.Timings, SamplerSettings, WorkerOptions, ModelInfo)
_EVENTS = (jobs.Progress, jobs.Token, jobs.Embedded, jobs.Done, jobs.Failed)
_KNOWN = {(c.__module__, c.__qualname__): c for c in (*_CLASSES, *_VALUES, *_EVENTS)}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise VkrunError(f"message: names {module}.{name}, which is none of its kinds")
        return _KNOWN[module, name]


def pack(message: Command | Answer) -> bytes:
    """VkrunError where it is longer than MAX_BYTES."""
    body = pickle.dumps(message, protocol=5)
    return check_length(len(body)).to_bytes(N_LENGTH, "little") + body


def unpack(body: bytes) -> Any:
    """The message behind its length. VkrunError for anything else."""
    try:
        message = _Unpickler(io.BytesIO(body)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise VkrunError(f"message: {error}") from error
    if not isinstance(message, _CLASSES):
        raise VkrunError(f"message: a {type(message).__name__}, which is none of its kinds")
    return message


def check_length(n: int) -> int:
    if n > MAX_BYTES:
        raise VkrunError(f"message: {n} bytes, at most {MAX_BYTES} allowed")
    return n
