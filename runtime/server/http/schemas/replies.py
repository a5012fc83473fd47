"""What is answered, for the description; tests hold the answers against it."""

from typing import Any, Literal

from pydantic import RootModel

from ..fields import Reply


class ErrorObject(Reply):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(Reply):
    error: ErrorObject


class AnthropicErrorObject(Reply):
    type: str
    message: str


class AnthropicErrorReply(Reply):
    type: Literal["error"]
    error: AnthropicErrorObject


class HealthReply(Reply):
    status: Literal["ok"]


class ModelReply(Reply):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    meta: dict[str, Any]


class ModelsReply(Reply):
    object: Literal["list"]
    data: list[ModelReply]


class PropsReply(Reply):
    default_generation_settings: dict[str, Any]
    total_slots: int
    model_alias: str
    chat_template: str
    bos_token: str
    eos_token: str
    build_info: str


class TokenPiece(Reply):
    id: int
    piece: str | list[int]


class TokenizeReply(Reply):
    tokens: list[int] | list[TokenPiece]


class DetokenizeReply(Reply):
    content: str


class ApplyTemplateReply(Reply):
    prompt: str


class UsageReply(Reply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]


class LikelyReply(Reply):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(LikelyReply):
    top_logprobs: list[LikelyReply]


class ChatLogprobs(Reply):
    content: list[TokenLogprobs]


class CompletionLogprobs(Reply):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(Reply):
    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None
    logprobs: CompletionLogprobs | None


class CompletionReply(Reply):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageReply
    timings: dict[str, float]


class FunctionReply(Reply):
    name: str
    arguments: str


class ToolCallReply(Reply):
    id: str
    type: Literal["function"]
    function: FunctionReply


class AnswerReply(Reply):
    """reasoning_content and tool_calls are there where there are any."""

    role: Literal["assistant"]
    content: str | None


class ChatChoice(Reply):
    index: int
    message: AnswerReply
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: ChatLogprobs | None


class ChatReply(Reply):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageReply
    timings: dict[str, float]


class EmbeddingReply(Reply):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsReply(Reply):
    object: Literal["list"]
    model: str
    data: list[EmbeddingReply]
    usage: dict[str, int]


class SlotReply(Reply):
    id: int
    worker: int
    n_ctx: int
    is_processing: bool
    n_prompt: int
    n_read: int
    n_reused: int
    n_generated: int


class SlotsReply(RootModel[list[SlotReply]]):
    """One entry a slot."""


class SlotActionReply(Reply):
    id_slot: int
    n_tokens: int


class MessageReply(Reply):
    """Anthropic's."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
    stop_sequence: str | None
    usage: dict[str, int]


class CountReply(Reply):
    input_tokens: int


class ResponseReply(Reply):
    """OpenAI's newer API."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None
