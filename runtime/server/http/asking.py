"""From what a request says to jobs."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...text.chat import ChatPrompt, Message
from ...text.grammar import Grammar
from ..jobs import Job
from .endpoint import Call
from .errors import ApiError
from .schemas.chat import ChatRequest, ForTemplate
from .schemas.sampling import Sampling

MAX_BIASES = 4096  # tokens
NEVER = -1e6
MAX_JOBS = 64  # of one request: prompts times choices


@dataclass(frozen=True)
class Wanted:
    """What differs between endpoints."""

    n_choices: int = 1
    n_logprobs: int | None = None
    n_predict: int | None = None  # where the request says nothing
    stops: tuple[str, ...] = ()  # beside its own
    grammar: Grammar | None = None
    shown: tuple[str, ...] = ()


def jobs_of(call: Call, prompts: Sequence[list[int]], body: Sampling, wanted: Wanted) -> list[Job]:
    """A job for each choice of each prompt; choices of one seed draw from different ones."""
    n = wanted.n_choices
    if len(prompts) * n > MAX_JOBS:
        raise ApiError(400, f"n: {len(prompts)} prompts of {n} choices, expected at most {MAX_JOBS} in all", param="n")
    settings = replace(body.settings(call.served.options.settings), logit_bias=_biases(call, body))
    seed = settings.seed
    return [
        Job(
            id=f"{call.id}-{i}",
            ids=tuple(_checked(call, ids)),
            settings=settings if seed in (None, -1) else replace(settings, seed=seed + i % n),
            n_predict=_n_predict(call, body, wanted),
            stop=tuple(dict.fromkeys((*body.stops, *wanted.stops))),
            n_logprobs=wanted.n_logprobs,
            grammar=wanted.grammar or grammar_of(body),
            user=call.user(body.user),
            cache_prompt=body.cache_prompt,
            ignore_eos=body.ignore_eos,
            shown=wanted.shown,
        )
        for i, ids in enumerate(ids for ids in prompts for _ in range(n))
    ]


def _n_predict(call: Call, body: Sampling, wanted: Wanted) -> int | None:
    n = body.n_most
    if n is None:
        n = wanted.n_predict if wanted.n_predict is not None else call.served.options.n_predict
    return None if n is None or n < 0 else n


def _checked(call: Call, ids: list[int]) -> list[int]:
    card = call.served.card
    if not card.causal:
        raise ApiError(400, f"{card.id}: {card.architecture} makes embeddings of texts, and no text", param="model")
    if not ids:
        raise ApiError(400, "prompt: empty, expected at least one token", param="prompt")
    if len(ids) >= card.n_ctx:
        text = f"prompt: {len(ids)} tokens do not fit a context of {card.n_ctx}"
        raise ApiError(400, text, param="prompt", code="context_length_exceeded")
    check_ids(call, ids, "prompt")
    return ids


def check_ids(call: Call, ids: Sequence[int], param: str) -> None:
    n_vocab = call.served.card.n_vocab
    for token in (min(ids), max(ids)) if ids else ():
        if not 0 <= token < n_vocab:
            raise ApiError(400, f"{param}: token {token}, the vocabulary has {n_vocab}", param=param)


def _biases(call: Call, body: Sampling) -> tuple[tuple[int, float], ...]:
    """Those of an object are told by tokens' numbers or by texts, of a list by either as its kind says: each token of
    a text has the bias. false: the token may not come."""
    wanted, biases = body.logit_bias or {}, list[tuple[int, float]]()
    pairs = [(_number(key), value) for key, value in wanted.items()] if isinstance(wanted, dict) else wanted
    for token, value in pairs:
        if isinstance(token, bool | float) or isinstance(value, str):
            raise ApiError(400, "logit_bias: expected pairs of a token's number or a text, and a bias", "logit_bias")
        ids = call.served.tokenizer.encode(token, special=False, bos=False) if isinstance(token, str) else [token]
        biases += [(each, NEVER if value is False else float(value)) for each in ids]
    if len(biases) > MAX_BIASES:
        raise ApiError(400, f"logit_bias: {len(biases)} tokens, expected at most {MAX_BIASES}", "logit_bias")
    check_ids(call, [token for token, _ in biases], "logit_bias")
    return tuple(biases)


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() else text


def grammar_of(body: Sampling) -> Grammar | None:
    """What an answer must match, if anything; 400 for two of them. UsageError for what is no schema, or too deep."""
    made = _formats(body)
    made += [] if body.json_schema is None else [Grammar.json(body.json_schema)]
    made += [] if body.grammar is None else [Grammar("gbnf", body.grammar)]
    made += [] if body.regex is None else [Grammar("regex", body.regex)]
    if len(made) > 1:
        raise ApiError(400, "response_format, json_schema, grammar, regex: more than one of them")
    return made[0] if made else None


def _formats(body: Sampling) -> list[Grammar]:
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return []
    if wanted.type == "json_object":
        return [Grammar.json()]
    if wanted.json_schema is None:
        raise ApiError(400, "response_format.json_schema: missing", param="response_format")
    return [Grammar.json(wanted.json_schema.schema_)]


async def chat_prompt(call: Call, body: ForTemplate) -> ChatPrompt:
    """Of the messages; a template or arguments for it only where the server lets requests bring them."""
    messages = body.plain_messages()
    return await call.served.prompt(
        messages,
        tools_of(body),
        body.chat_template,
        add_generation_prompt=body.add_generation_prompt,
        continue_final_message=call.served.options.prefill and body.add_generation_prompt and _is_begun(messages[-1]),
        **template_arguments(call, body),
    )


def _is_begun(last: Message) -> bool:
    """Is it an answer that is to be gone on with?"""
    return last["role"] == "assistant" and not last.get("tool_calls")


def tools_of(body: ForTemplate) -> list[dict[str, Any]] | None:
    """Those that an answer may call."""
    return None if isinstance(body, ChatRequest) and body.tool_choice == "none" else body.plain_tools()


def template_arguments(call: Call, body: ForTemplate) -> dict[str, Any]:
    options = call.served.options
    for name in ("chat_template", "chat_template_kwargs"):
        if getattr(body, name) is not None and not options.templates:
            raise ApiError(400, f"{name}: not taken from requests; --allow-request-templates lets them", param=name)
    made = dict(options.template_arguments)
    if body.reasoning_effort is not None:
        made |= {"reasoning_effort": body.reasoning_effort, "enable_thinking": body.reasoning_effort != "none"}
    made |= body.chat_template_kwargs or {}
    reserved = {"messages", "tools", "documents", "add_generation_prompt"} & made.keys()
    if reserved:
        raise ApiError(400, f"chat_template_kwargs: {min(reserved)} is said elsewhere", param="chat_template_kwargs")
    return made


def new_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"
