"""How jobs ended, in OpenAI's words."""

from ..jobs import Done
from .errors import ApiError


def finished(done: Done | None) -> Done:
    if done is None:
        raise ApiError(500, "an answer that never ended")
    return done


def reason(done: Done, has_calls: bool = False) -> str:
    if done.reason == "length":
        return "length"
    return "tool_calls" if has_calls else "stop"
