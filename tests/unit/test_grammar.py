"""Grammars: what is refused, what may come next, and that hostile ones cost little."""

import json
import time

import numpy as np
import pytest
import vkrun
from vkrun.runtime.errors import TextError, UsageError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.ir.ops.sampling import masked
from vkrun.runtime.text.constraints import Grammars
from vkrun.runtime.text.grammar import MAX_CHARS, MAX_DEPTH, Grammar
from vkrun.runtime.text.tokenizer import tokenizer_from_gguf

ZERO = np.zeros(4096, np.float32)


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    with GGUFFile.open(vkrun.BUNDLED) as f:
        return Grammars(tokenizer_from_gguf(f.keys, 4096), 4096)


def allowed(grammars: Grammars, constraint) -> set[str]:
    """The texts of the tokens that may come next."""
    ids = np.flatnonzero(np.isfinite(masked(ZERO, constraint.mask())))
    return {grammars._tokenizer.decode([i], special=True) for i in ids}


def test_a_mask_has_exactly_the_tokens_that_may_come(grammars: Grammars) -> None:
    constraint = grammars.constraint(Grammar("regex", "(yes|no)"))
    words = {
        t for i in range(4096) if (t := grammars._tokenizer.decode([i])) and ("yes".startswith(t) or "no".startswith(t))
    }
    assert allowed(grammars, constraint) == words and {"y", "n"} <= words


def test_it_is_over_when_nothing_more_may_come(grammars: Grammars) -> None:
    constraint = grammars.constraint(Grammar("gbnf", 'root ::= "ab" "c"?'))
    for text, over in (("a", False), ("b", False), ("c", True)):
        (token,) = grammars._tokenizer.encode(text, bos=False)
        assert not constraint.is_over
        constraint.accept(token)
        assert constraint.is_over == over


def test_end_tokens_may_come_where_the_text_may_end(grammars: Grammars) -> None:
    constraint = grammars.constraint(Grammar("regex", "[0-9]+"))
    ends = {grammars._tokenizer.decode([i], special=True) for i in grammars._tokenizer.eos_ids}
    assert not ends & allowed(grammars, constraint)
    constraint.accept(grammars._tokenizer.encode("1", bos=False)[0])
    assert ends <= allowed(grammars, constraint)


def test_a_token_that_may_not_come_is_an_error(grammars: Grammars) -> None:
    with pytest.raises(TextError, match="grammar: "):
        grammars.constraint(Grammar("regex", "a")).accept(grammars._tokenizer.encode("b", bos=False)[0])


BAD = {
    "no regular expression": ("regex", "(("),
    "no grammar": ("gbnf", "root ::= banana"),
    "no lark": ("lark", "start: ("),
    "no type": ("json_schema", '{"type":"banana"}'),
    "a pattern that is none": ("json_schema", '{"type":"string","pattern":"(("}'),
    "nothing fits": ("json_schema", '{"type":"integer","minimum":3,"maximum":2}'),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_ones_get_a_line(name: str, grammars: Grammars) -> None:
    with pytest.raises(UsageError) as error:
        grammars.constraint(Grammar(*BAD[name]))
    assert str(error.value).startswith(BAD[name][0]) and "\n" not in str(error.value)


def deep(n: int) -> str:
    return '{"items":' * n + '{"type":"integer"}' + "}" * n


@pytest.mark.parametrize("text", ["[]", "{", "{}}", deep(MAX_DEPTH), deep(100_000), '"' + "x" * MAX_CHARS, "7"])
def test_what_is_no_schema_is_refused_before_it_is_compiled(text: str) -> None:
    with pytest.raises(UsageError, match=r"json_schema|JSON schema"):
        Grammar.json(text)
    with pytest.raises(UsageError, match="JSON schema"):
        Grammar.json({"x": {1, 2}})


HOSTILE = {
    "a long count": ("regex", "(a{1,1000}){1,1000}b"),
    "counts in counts": ("regex", "((((a{9}){9}){9}){9}){9}"),
    "a choice of all": ("json_schema", json.dumps({"enum": [f"{i:06}" for i in range(20_000)]})),
    "many properties": ("json_schema", json.dumps({"properties": {f"p{i}": {"type": "string"} for i in range(3000)}})),
    "an exponential of choices": (
        "json_schema",
        json.dumps({"$defs": {"a": {"anyOf": [{"items": {"$ref": "#/$defs/a"}}] * 30}}, "$ref": "#/$defs/a"}),
    ),
    "ambiguous": ("lark", 'start: x\nx: "a" | x x | x x x\n'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_ones_are_bounded(name: str, grammars: Grammars) -> None:
    """Refused or served, in bounded time; twenty tokens of what may come, the lowest each time."""
    before = time.perf_counter()
    try:
        constraint = grammars.constraint(Grammar(*HOSTILE[name]))
        for _ in range(20):
            if constraint.is_over:
                break
            constraint.accept(int(np.argmax(masked(ZERO, constraint.mask()))))
    except (UsageError, TextError) as error:
        assert "\n" not in str(error)
    assert time.perf_counter() - before < 10  # a second or less on a quiet machine
