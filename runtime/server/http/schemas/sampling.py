"""How tokens are drawn and when they end: what every endpoint that makes text can be told."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ....errors import UsageError
from ....text.sampler import SamplerSettings
from ....text.sampler_names import ORDER, names_of, switched_off
from ..fields import (
    WHOLE,
    AtLeastOne,
    Biases,
    BiasPairs,
    Body,
    Count,
    Name,
    Object,
    Penalty,
    Repeat,
    Seed,
    Share,
    Stops,
    StopText,
    Temperature,
    Text,
)

# llama-server's samplers that there are not, and the values at which they do nothing
_OFF: dict[str, tuple[Any, ...]] = {
    "mirostat": (0,),
    "xtc_probability": (0,),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "typical_p": (1,),
    "tfs_z": (1,),
    "top_n_sigma": (-1,),
    "adaptive_target": (-1,),
    "lora": ([],),
    "suffix": ("",),
}
TopK = Annotated[int, Field(strict=True, ge=-1, le=1 << 24), WHOLE]


class StreamOptions(Body):
    include_usage: bool = False


class JsonSchema(Body):
    name: Name | None = None
    description: Text | None = None
    schema_: Object = Field(alias="schema", default_factory=dict)
    strict: bool | None = None


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Sampling(Body):
    """The names are OpenAI's and, where it has none, llama-server's. What is left out is as the server was started."""

    model: Name | None = None
    user: Name | None = None
    max_tokens: Count | None = None
    n_predict: Count | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: TopK | None = None
    min_p: Share | None = None
    repeat_penalty: Repeat | None = None
    repeat_last_n: Count | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: StopText | Stops | None = None
    logit_bias: Biases | BiasPairs | None = None
    samplers: Annotated[list[Name], Field(max_length=64)] | Name | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_progress: bool = False
    cache_prompt: bool = True
    ignore_eos: bool = False
    response_format: ResponseFormat | None = None
    json_schema: Object | None = None
    grammar: Text | None = None
    regex: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_would_be_ignored(cls, value: Any) -> Any:
        for name, off in _OFF.items() if isinstance(value, dict) else ():
            if value.get(name) is not None and value[name] not in off:
                raise ValueError(f"{name}: {value[name]!r:.40}, which vkrun has not; expected {off[0]!r} or nothing")
        return value

    @field_validator("samplers")
    @classmethod
    def _check_samplers(cls, value: list[str] | str | None) -> list[str] | str | None:
        try:
            switched_off(_names(value or ORDER))
        except UsageError as error:
            raise ValueError(str(error)) from None
        return value

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def n_most(self) -> int | None:
        """Most tokens to make; None where nothing was said, -1 for no limit."""
        return self.max_tokens if self.max_tokens is not None else self.n_predict

    def settings(self, usual: SamplerSettings) -> SamplerSettings:
        given = {
            "temp": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repeat_penalty": self.repeat_penalty,
            "repeat_last_n": self.repeat_last_n,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "seed": self.seed,
        }
        made = {name: value for name, value in given.items() if value is not None}
        return replace(usual, **(made | self._off()))

    def _off(self) -> dict[str, Any]:
        """What switches the samplers off that the request does not name."""
        return {} if self.samplers is None else switched_off(_names(self.samplers))


def _names(samplers: Sequence[str]) -> Sequence[str]:
    """One text holds llama-server's letters."""
    return names_of(samplers) if isinstance(samplers, str) else samplers


class Completing(Sampling):
    """What chats and completions share beyond that."""

    max_completion_tokens: AtLeastOne | None = None

    @property
    def n_most(self) -> int | None:
        return super().n_most if self.max_completion_tokens is None else self.max_completion_tokens
