"""/set: what may be changed in the middle of a chat, by the names of the options."""

from dataclasses import fields, replace
from typing import Any

from ..errors import UsageError
from ..text.sampler import SamplerSettings
from .answer import Answers
from .conversation import Conversation

_ALIASES = {
    "temperature": "temp",
    "n": "predict",
    "n_predict": "predict",
    "num_predict": "predict",
    "s": "seed",
    "sys": "system",
    "system_prompt": "system",
}
_WHOLE = {"top_k", "repeat_last_n", "seed", "predict"}
_SAMPLING = tuple(f.name for f in fields(SamplerSettings) if f.name != "logit_bias")  # numbers
NAMES = (*_SAMPLING, "predict", "system", "reasoning")
_REASONING = {"shown": False, "hidden": True}


def change(answers: Answers, conversation: Conversation, text: str) -> str:
    """`NAME VALUE` carried out; the line to print. UsageError for a name or value that cannot be."""
    text = text.removeprefix("parameter ").strip()  # as ollama spells it
    word, _, value = text.partition(" ")
    name = word.lstrip("-").replace("-", "_")
    name, value = _ALIASES.get(name, name), value.strip()
    if name not in NAMES:
        raise UsageError(f"no setting {word:.40}; there are {', '.join(NAMES)}")
    if not value and name != "system":
        raise UsageError(f"/set {name}: no value")
    if name == "system":
        conversation.system = value.strip('"') or None
    elif name == "predict":
        n = _number(name, value)
        answers.n_predict = None if n < 0 else n
    elif name == "reasoning":
        if value not in _REASONING:
            raise UsageError(f"reasoning: {value!r:.40}, expected {' or '.join(_REASONING)}")
        answers.hides_reasoning = _REASONING[value]
    else:
        answers.settings = replace(answers.settings, **{name: _number(name, value)})
    return f"{name} is {value or 'empty'} now"


def settings_text(answers: Answers, conversation: Conversation) -> str:
    values = {name: getattr(answers.settings, name) for name in _SAMPLING}
    values |= {"predict": -1 if answers.n_predict is None else answers.n_predict, "system": conversation.system or ""}
    values["reasoning"] = "hidden" if answers.hides_reasoning else "shown"
    return "\n".join(f"{name:<18} {value}".rstrip() for name, value in values.items())


def _number(name: str, text: str) -> Any:
    kind = int if name in _WHOLE else float
    try:
        return kind(text)
    except ValueError:
        noun = "an integer" if kind is int else "a number"
        raise UsageError(f"{name}: {text!r:.40}, expected {noun}") from None
