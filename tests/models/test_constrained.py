"""Answers held to a grammar: valid whatever the settings, drawn on the device as on the host, beside free ones."""

import json
from collections.abc import Iterator

import pytest
import vkrun
from vkrun.runtime.engine.choice import TokenChoice
from vkrun.runtime.engine.sequence import Sequence
from vkrun.runtime.text.constraints import Grammars
from vkrun.runtime.text.grammar import Grammar
from vkrun.runtime.text.sampler import SamplerSettings

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["x", "yy"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
HOW = {
    "greedy": {"temperature": 0},
    "drawn on the device": {"seed": 1},
    "drawn on the host": {"seed": 2, "top_k": 0, "temperature": 1.5, "top_p": 1.0, "min_p": 0.0},
    "with penalties": {"seed": 3, "repeat_penalty": 1.3},
}


@pytest.fixture(scope="module")
def models() -> Iterator:
    opened: dict[str, vkrun.Model] = {}

    def get(backend: str) -> vkrun.Model:
        if backend not in opened:
            opened[backend] = vkrun.load(vkrun.BUNDLED, backend=backend, n_ctx=512, n_seqs=3)
        return opened[backend]

    yield get
    for model in opened.values():
        model.close()


@pytest.mark.parametrize(("backend", "how"), [("cpu", "greedy"), *(("vulkan", how) for how in HOW)])
def test_json_is_valid_by_its_schema(backend: str, how: str, models) -> None:
    generation = models(backend).generate("def f(x):", max_tokens=300, grammar=Grammar.json(SCHEMA), **HOW[how])
    made = json.loads("".join(generation))
    assert generation.timings.ended == "token"
    assert set(made) == {"name", "age", "tags"} and len(made["name"]) <= 10 and 0 <= made["age"] <= 99
    assert len(made["tags"]) <= 3 and set(made["tags"]) <= {"x", "yy"}


@pytest.mark.parametrize("how", ["greedy", "drawn on the device"])
def test_the_device_draws_what_the_host_would(how: str, models, monkeypatch) -> None:
    """With logprobs the host chooses, by the same mask and the same random numbers."""
    model = models("vulkan")

    def ids(n_logprobs: int | None) -> list[int]:
        grammars = Grammars(model.tokenizer, model.info.n_vocab)
        settings = SamplerSettings(temp=HOW[how].get("temperature", 0.8), seed=1)
        constraint = grammars.constraint(Grammar("regex", "[a-z ]{30}"))
        s = Sequence([5, 6, 7], settings, 60, model.tokenizer.eos_ids, n_logprobs=n_logprobs, constraint=constraint)
        assert s.choice.on_device == (n_logprobs is None)
        model._service.join(s)
        while (model._service.next(s)) is not None:
            pass
        return s.ids

    assert ids(None) == ids(0)


@pytest.mark.full
def test_others_in_the_batch_say_what_they_would_alone(models) -> None:
    model = models("vulkan")
    alone = "".join(model.generate("def fib(n):", max_tokens=40, temperature=0))
    free = model.generate("def fib(n):", max_tokens=40, temperature=0)
    held = model.generate("x =", max_tokens=200, seed=4, grammar=Grammar.json(SCHEMA))
    free.start(), held.start()
    assert json.loads("".join(held)) and "".join(free) == alone


@pytest.mark.full("vulkan")
@pytest.mark.parametrize("backend", ["cpu", "vulkan"])
def test_the_device_goes_on_while_the_host_finds_out_what_may_come(backend: str, models) -> None:
    model = models(backend)
    held = model.generate("x =", max_tokens=20, temperature=0, grammar=Grammar("regex", "[a-z ]{200}"))
    free = model.generate("def fib(n):", max_tokens=30, temperature=0)
    held.start(), next(free)
    model.scheduler.step()  # which reads a token of each that was drawn before
    for _ in range(5):
        model.scheduler.step()
        assert model.scheduler._run.n_under_way == 1
    alone = "".join(model.generate("x =", max_tokens=20, temperature=0, grammar=Grammar("regex", "[a-z ]{200}")))
    assert "".join(held) == alone
    free.stop()


@pytest.mark.full("vulkan")
@pytest.mark.parametrize("backend", ["cpu", "vulkan"])
def test_a_grammar_that_fails_ends_its_own_answer_alone(backend: str, models, monkeypatch) -> None:
    model = models(backend)
    alone = "".join(model.generate("def fib(n):", max_tokens=20, temperature=0))
    free = model.generate("def fib(n):", max_tokens=20, temperature=0)
    held = model.generate("x =", max_tokens=30, temperature=0, grammar=Grammar("regex", "[a-z]{20}"))
    free.start(), held.start()
    token = TokenChoice.mask

    def mask(self, n_vocab):
        if self.constraint is not None and len(held._sequence.ids) > 6:
            self.constraint._matcher.consume_token(0)  # what it may not
        return token(self, n_vocab)

    monkeypatch.setattr(TokenChoice, "mask", mask)
    with pytest.raises(vkrun.VkrunError, match="grammar: "):
        "".join(held)
    assert "".join(free) == alone


def test_every_kind(models) -> None:
    model = models("vulkan")
    made = {
        ("regex", "[0-9]{3}-[a-f]{2}"): None,
        ("gbnf", 'root ::= "yes" | "no"'): {"yes", "no"},
        ("lark", 'start: "a" "b"~3'): {"abbb"},
    }
    for (kind, text), wanted in made.items():
        answer = "".join(model.generate("q", max_tokens=40, temperature=0, grammar=Grammar(kind, text)))
        assert answer in wanted if wanted else len(answer) == 6 and answer[3] == "-"
