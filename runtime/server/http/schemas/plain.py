"""Completions, embeddings and the endpoints about tokens."""

from typing import Annotated, Literal

from pydantic import Field

from ..fields import MAX_TOKENS, AtLeastOne, Body, Choices, Ids, Name, Text, TokenId, Top
from .sampling import Completing

Texts = Annotated[list[Text], Field(min_length=1, max_length=256)]
Prompt = Text | Texts | Ids | Annotated[list[Ids], Field(min_length=1, max_length=256)]


class CompletionRequest(Completing):
    """max_tokens is OpenAI's 16 where nothing is said."""

    prompt: Prompt
    n: Choices | None = None
    best_of: Choices | None = None
    logprobs: Top | None = None
    echo: bool | None = None


class EmbeddingRequest(Body):
    input: Prompt
    model: Name | None = None
    user: Name | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: AtLeastOne | None = None
    pooling: Literal["mean", "cls", "last"] | None = None


class TokenizeRequest(Body):
    content: Text
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class DetokenizeRequest(Body):
    tokens: Annotated[list[TokenId], Field(max_length=MAX_TOKENS)]
