"""Usage, timings and logarithms of probability in OpenAI's and llama-server's words."""

from collections.abc import Sequence
from typing import Any

from ...text.base import Tokenizer
from ..jobs import Done, Likely, Token


def usage(dones: Sequence[Done], n_prompts: int = 1) -> dict[str, Any]:
    """Of the choices of each prompt the prompt is counted once."""
    each = max(1, len(dones) // n_prompts)
    n_prompt = sum(done.usage.n_prompt for done in dones[::each])
    n_reused = sum(done.usage.n_reused for done in dones[::each])
    n_made = sum(done.usage.n_generated for done in dones)
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_made,
        "total_tokens": n_prompt + n_made,
        "prompt_tokens_details": {"cached_tokens": n_reused},
    }


def timings(done: Done) -> dict[str, Any]:
    """llama-server's, in milliseconds and tokens a second."""
    used, took = done.usage, done.timings
    n_read = used.n_prompt - used.n_reused
    return {
        "cache_n": used.n_reused,
        "queue_ms": took.queued_s * 1000,
        **_rates("prompt", n_read, took.prompt_s),
        **_rates("predicted", used.n_generated, took.generate_s),
    }


def _rates(name: str, n: int, seconds: float) -> dict[str, Any]:
    return {
        f"{name}_n": n,
        f"{name}_ms": seconds * 1000,
        f"{name}_per_token_ms": seconds * 1000 / n if n else 0.0,
        f"{name}_per_second": n / seconds if seconds > 0 else 0.0,
    }


def chat_logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    return {"content": [{**_likely(t.own), "top_logprobs": list(map(_likely, t.top))} for t in tokens if t.own]}


def _likely(of: Likely) -> dict[str, Any]:
    return {"token": _text(of), "logprob": finite(of.logprob), "bytes": list(of.data)}


def _text(of: Likely) -> str:
    return of.data.decode("utf-8", "replace")


def finite(logprob: float) -> float:
    """JSON has no infinity: OpenAI says -9999 for a token that cannot be."""
    return max(logprob, -9999.0)


def completion_logprobs(tokens: Sequence[Token], start: int = 0) -> dict[str, Any]:
    """start: characters of text before the first of them."""
    own = [t for t in tokens if t.own]
    offsets, at = [], start
    for token in own:
        offsets.append(at)
        at += len(_text(token.own)) if token.own else 0
    return {
        "tokens": [_text(t.own) for t in own if t.own],
        "token_logprobs": [finite(t.own.logprob) for t in own if t.own],
        "top_logprobs": [{_text(each): finite(each.logprob) for each in t.top} for t in own],
        "text_offset": offsets,
    }


def piece(tokenizer: Tokenizer, token: int) -> str | list[int]:
    """A token as text, or as bytes where it is no whole text."""
    data = tokenizer.token_bytes(token, special=True)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)
