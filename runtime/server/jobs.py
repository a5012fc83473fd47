"""What a front end asks of the workers, and what they answer: plain values, which cross a pipe as they are.

A job gives any number of Progress and Token, or an Embedded, and at last either Done or Failed.
"""

from dataclasses import dataclass, field
from typing import Literal

from ..errors import VkrunError
from ..text.grammar import Grammar
from ..text.sampler import SamplerSettings

Reason = Literal["stop", "length", "cancelled"]
State = Literal["loading", "ok", "failed", "draining"]


class Refused(VkrunError):
    """A job that was not taken. retry_after: seconds after which it may be. crowded: its own user asked for too much
    (HTTP's 429), else nobody is served now (503)."""

    def __init__(self, text: str, retry_after: float, crowded: bool = False) -> None:
        super().__init__(text)
        self.retry_after, self.crowded = retry_after, crowded


@dataclass(frozen=True)
class Job:
    """A prompt to go on from, or with `embed` a text to embed.

    id: of the caller's choice, of no other job under way. n_predict: most tokens to make, None for as many as the
    context has room for. stop: texts before which the answer ends. n_logprobs: likeliest tokens to tell beside each
    token with their logarithms of probability, 0 for the token's own alone, None for none. user: whom it is for, among
    whom the device is shared out. cache_prompt: may it go on from what earlier jobs left? pooling: as Model.embed's.
    shown: texts of control tokens that are part of the answer, for what reads it.
    """

    id: str
    ids: tuple[int, ...]
    settings: SamplerSettings = field(default_factory=SamplerSettings)
    n_predict: int | None = None
    stop: tuple[str, ...] = ()
    n_logprobs: int | None = None
    grammar: Grammar | None = None
    user: str = ""
    cache_prompt: bool = True
    ignore_eos: bool = False
    embed: bool = False
    pooling: str | None = None
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Likely:
    """A token, the bytes it stands for, and the natural logarithm of its probability."""

    id: int
    data: bytes
    logprob: float


@dataclass(frozen=True)
class Progress:
    """Of the prompt's tokens n_read need no more work, n_reused of them needed none."""

    n_read: int
    n_reused: int
    n_prompt: int


@dataclass(frozen=True)
class Token:
    """A token, and the text that is certain by now: whole characters, before any stop string; it may be empty, and the
    text of several tokens then comes with a later one, or with the id of None at the end. own, top: where logarithms of
    probability were asked for, the token's own and the likeliest, the best first."""

    id: int | None
    text: str
    own: Likely | None = None
    top: tuple[Likely, ...] = ()


@dataclass(frozen=True)
class Embedded:
    """The embedding, of length 1."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Timings:
    """Seconds: in the queue, reading the prompt, making tokens."""

    queued_s: float = 0.0
    prompt_s: float = 0.0
    generate_s: float = 0.0


@dataclass(frozen=True)
class Usage:
    """Tokens of the prompt, those of them that needed no work, and tokens made, an end token included."""

    n_prompt: int = 0
    n_reused: int = 0
    n_generated: int = 0


@dataclass(frozen=True)
class Done:
    """Why it ended: `stop` at an end token or a stop string (`stopped_by` says which), `length` at n_predict or with a
    full context, `cancelled` on request."""

    reason: Reason
    usage: Usage
    timings: Timings
    stopped_by: str = ""


@dataclass(frozen=True)
class Failed:
    """What went wrong, in a line without paths. retry_after: seconds after which asking again may help, None where it
    will not, as it is the job's own fault."""

    error: str
    retry_after: float | None = None


Event = Progress | Token | Embedded | Done | Failed


@dataclass(frozen=True)
class WorkerHealth:
    """One process. done: how far it is with loading, 0 to 1."""

    state: State
    device: str = ""
    done: float = 0.0
    error: str = ""
    n_restarts: int = 0
    pid: int | None = None


@dataclass(frozen=True)
class Health:
    """`ok` while one worker at least takes jobs."""

    state: State
    workers: tuple[WorkerHealth, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class SlotInfo:
    """A seat of a worker: whom it serves, if anyone, and how far that is."""

    id: int
    worker: int
    n_ctx: int
    job: str | None = None
    n_prompt: int = 0
    n_read: int = 0
    n_reused: int = 0
    n_generated: int = 0


@dataclass
class Metrics:
    """Since the start, of all workers together; the gauges are of now."""

    n_prompt: int = 0  # tokens of prompts, without those reused
    n_reused: int = 0
    n_generated: int = 0
    prompt_s: float = 0.0  # summed over jobs
    generate_s: float = 0.0
    n_jobs: dict[str, int] = field(default_factory=dict)  # by how they ended: a Reason, "failed" or "refused"
    n_restarts: int = 0
    n_queued: int = 0
    n_running: int = 0
    n_seats: int = 0
