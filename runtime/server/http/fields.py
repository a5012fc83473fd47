"""Kinds of fields: every number finite and in a closed range, every text and list bounded."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_TOKENS = 1 << 24
MAX_TEXT = 8 << 20  # characters
MAX_CHOICES = 16
MAX_TOP = 20  # likeliest tokens told beside each


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 3.0 is an integer in it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(max_length=256)]
TokenId = Annotated[int, Field(strict=True, ge=0, le=MAX_TOKENS), WHOLE]
Count = Annotated[int, Field(strict=True, ge=-1, le=MAX_TOKENS), WHOLE]  # of tokens; -1: no limit
AtLeastOne = Annotated[int, Field(strict=True, ge=1, le=MAX_TOKENS), WHOLE]
Choices = Annotated[int, Field(strict=True, ge=1, le=MAX_CHOICES), WHOLE]
Top = Annotated[int, Field(strict=True, ge=0, le=MAX_TOP), WHOLE]
Seed = Annotated[int, Field(strict=True, ge=-1, le=2**53 - 1), WHOLE]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Temperature = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Penalty = Annotated[float, Field(strict=True, ge=-100, le=100, allow_inf_nan=False)]
Repeat = Annotated[float, Field(strict=True, ge=0.1, le=10, allow_inf_nan=False)]
Bias = Annotated[float, Field(strict=True, ge=-100, le=100, allow_inf_nan=False)]
NoBias = Literal[False]  # of a token that may not come
Biases = Annotated[dict[Name, Bias | NoBias], Field(max_length=1024)]  # by tokens' numbers, else by texts
BiasPairs = Annotated[
    list[Annotated[list[TokenId | Name | Bias | NoBias], Field(min_length=2, max_length=2)]], Field(max_length=1024)
]
Ids = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_TOKENS)]
StopText = Annotated[str, Field(min_length=1, max_length=1000)]
Stops = Annotated[list[StopText], Field(max_length=16)]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
Object = dict[str, Any]


class Body(BaseModel):
    """Kinds are exact: no text for a number. Fields that nobody here knows are let be, as clients send many."""

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())


class Reply(BaseModel):
    """What is answered; may hold more than is described."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())
