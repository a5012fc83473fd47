"""Answers in pieces, and what was said as the next prompt."""

import os
import signal
import sys

import pytest
import vkrun
from vkrun.runtime.cli import answer
from vkrun.runtime.cli.answer import Answers, stats_text
from vkrun.runtime.cli.conversation import Conversation
from vkrun.runtime.cli.progress import Bar
from vkrun.runtime.cli.screen import Screen, columns, one_line, safe
from vkrun.runtime.engine.runner import Runner
from vkrun.runtime.engine.sequence import Timings
from vkrun.runtime.engine.sizes import SOFTWARE
from vkrun.runtime.errors import BackendError, VkrunError
from vkrun.runtime.text.answers.formats import PLAIN
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.cli.running import MODEL

GREEDY = SamplerSettings(temp=0)
IDS = [i % 90 + 5 for i in range(41)]


@pytest.fixture
def model():
    """Reads prompts in chunks of 8 tokens."""
    with vkrun.load(MODEL, backend="cpu", n_ctx=128) as loaded, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded._service._scheduler.runner, "sizes", SOFTWARE.up_to(8))
        yield loaded


@pytest.fixture
def answers(model):
    return Answers(model, GREEDY, n_predict=4)


def test_an_answer_is_what_is_generated(model, answers):
    assert answers.answer(IDS, Screen()).content == "".join(model.generate(IDS, max_tokens=4, temperature=0))
    timings = answers.timings
    assert (timings.n_prompt, timings.n_cached, timings.n_generated) == (len(IDS), 0, 4)
    assert not answers.interrupted and answers.total_s >= timings.prompt_s > 0


def test_ctrl_c_in_a_long_prompt_stops_between_two_chunks(answers, monkeypatch):
    whole, calls = Runner.step, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "step", interrupted)
        assert answers.answer(IDS, Screen()).content == ""
    assert answers.interrupted and len(calls) == 2 and answers.timings.ended == "stopped"
    text = answers.answer(IDS, Screen()).content
    assert answers.timings.n_cached == 16 and not answers.interrupted  # the states were left whole
    with vkrun.load(MODEL, backend="cpu", n_ctx=128) as fresh:
        assert text == "".join(fresh.generate(IDS, max_tokens=4, temperature=0))


def test_an_error_in_the_middle_of_an_answer_begins_a_line(answers, monkeypatch, capsys):
    class Lost:
        timings = Timings()
        pieces = iter(["one", " two", " three"])

        def watch(self, _on_read):
            pass

        def __iter__(self):
            return self

        def __next__(self):
            if piece := next(self.pieces, ""):
                return piece
            raise BackendError("device lost")

    monkeypatch.setattr(answers.model, "generate_from", lambda *_: Lost())
    with pytest.raises(BackendError):
        answers.answer(IDS, Screen("said: "))
    assert capsys.readouterr().out == "said: one two three\n"


def test_the_bar_is_told_how_much_of_the_prompt_is_read(answers):
    told = []

    class Told(Bar):
        def __call__(self, what, done, total):
            told.append((what, done, total))

    answers.bar = Told()
    answers.answer(IDS, Screen())
    read = [done for what, done, total in told if what == "reading" and total == len(IDS)]
    assert len(told) == len(read) >= 5 and read == sorted(read) and read[-1] == len(IDS)


def test_two_turns_a_stop_string_and_ctrl_c_keep_what_was_read(model, answers):
    talk = Conversation(model, None, is_code=False)
    said = "tell me of many things"
    talk.add("user", said)
    first = talk.prompt().ids
    text = answers.answer(first, Screen()).content
    answers.stops = (text[1:3],)
    answers.answer(first, Screen())
    assert answers.timings.ended == "stop" and answers.timings.n_cached >= len(first) - 8
    talk.add("assistant", text)
    talk.add("user", "and?")
    made = model.generate_from

    def stopped(*args):
        generation = made(*args)
        generation.stop()
        return generation

    for interrupted in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if interrupted:
                patch.setattr(model, "generate_from", stopped)
            answers.answer(talk.prompt().ids, Screen())
    assert answers.timings.n_cached >= len(first) - 16


def test_a_second_ctrl_c_interrupts(answers, monkeypatch):
    def stuck(*_args, **_kw):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("went on")

    monkeypatch.setattr(answers.model, "generate_from", stuck)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        answers.answer(IDS, Screen())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_step_that_failed_is_not_built_upon(model, monkeypatch):
    wanted = "".join(model.generate(IDS, max_tokens=4, temperature=0))
    assert list(model.generate(IDS[:20], max_tokens=0)) == []  # the slots hold what the next prompt begins with

    whole = Runner.step

    def lost(*args):
        whole(*args)
        raise BackendError("device lost")

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "step", lost)
        with pytest.raises(BackendError):
            list(model.generate(IDS, max_tokens=4, temperature=0))
    assert "".join(model.generate(IDS, max_tokens=4, temperature=0)) == wanted and model.timings.n_cached == 0


def test_a_prompt_beyond_the_context(answers):
    with pytest.raises(VkrunError, match="the prompt has 128 tokens, the context holds 128"):
        answers.answer([5] * 128, Screen())


def test_the_stats():
    timings = Timings(n_prompt=10, n_cached=2, prompt_s=0.5, n_generated=4, generate_s=0.2)
    text = stats_text(timings, 1.0, 0.75)
    assert "load time =    1000.00 ms" in text
    assert "500.00 ms /     8 tokens (   62.50 ms per token,    16.00 tokens per second)" in text
    assert "200.00 ms /     4 runs   (   50.00 ms per token,    20.00 tokens per second)" in text
    assert "total time =     750.00 ms /    12 tokens, 2 prompt tokens were cached" in text
    assert "0.00 tokens per second" in stats_text(Timings(), 0.0, 0.0)


@pytest.mark.parametrize(("pieces", "wanted"), [("", []), ("a", ["a"]), ("ab", ["ab"]), ("abcd", ["ab", "c", "d"])])
def test_the_first_piece_comes_with_the_second_where_there_was_a_bar(pieces, wanted):
    assert list(answer.together(iter(pieces), lambda: True)) == wanted
    assert list(answer.together(iter(pieces), lambda: False)) == list(pieces)


def test_what_was_said_to_a_model_that_completes(model):
    talk = Conversation(model, None, is_code=True)
    assert talk.kind == "code" and talk.stops == ()
    talk.add("user", "def f(x):")
    talk.add("assistant", "\n    return")
    talk.add("user", "def g(x):")
    assert model.detokenize(talk.prompt().ids) == "def f(x):\n    return\ndef g(x):"
    talk.take_back()
    assert model.detokenize(talk.prompt().ids) == "def f(x):\n    return"


def test_what_was_said_in_a_chat(model):
    talk = Conversation(model, "be brief", is_code=False)
    talk.add("user", "hi")
    wanted = model.chat_template.prompt(
        model.tokenizer, [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    ).ids
    assert talk.prompt().ids == wanted and talk.stops == model.chat_template.stops
    talk.clear()
    talk.system = None
    talk.add("user", "hi")
    assert len(talk.prompt().ids) < len(wanted)


def test_what_a_terminal_would_obey_is_escaped():
    assert safe("a\tb\nc") == "a\tb\nc"
    assert safe("\x1b[2J\r\x00\x7f\x9b") == r"\x1b[2J\x0d\x00\x7f\x9b"
    assert safe("é€😀") == "é€😀"
    assert one_line("a\nb\r\n c\x07") == r"a b c\x07"


def test_columns():
    assert columns([("a", "bb", "c"), ("ddd", "e", "")], right=(1,)) == "a    bb  c\nddd   e"


class Written:
    """A stream that says whether it is a terminal, and what was written to it."""

    def __init__(self, is_terminal: bool) -> None:
        self.text, self._is_terminal = "", is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("is_terminal", "environ", "wanted"),
    [
        (True, {"TERM": "xterm"}, "\x1b[2mhm\x1b[22m\x1b[2m\\x1b[0m\x1b[22m\n\nHi\n"),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, "<think>\nhm\\x1b[0m\n</think>\n\nHi\n"),
        (True, {"TERM": "dumb"}, "<think>\nhm\\x1b[0m\n</think>\n\nHi\n"),
        (False, {"TERM": "xterm"}, "<think>\nhm\x1b[0m\n</think>\n\nHi\n"),
    ],
)
def test_reasoning_is_dimmed_or_between_tags(monkeypatch, is_terminal, environ, wanted):
    stream = Written(is_terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    screen = Screen()
    for piece in ("hm", "\x1b[0m"):
        screen.think(piece)
    screen.write("Hi")
    screen.end_line()
    assert stream.text == wanted


def test_reasoning_that_never_ended_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream := Written(False))
    screen = Screen("said: ")
    screen.think("hm")
    screen.end_line()
    assert stream.text == "said: <think>\nhm\n</think>\n\n"


@pytest.mark.parametrize("hides", [False, True])
def test_an_answers_reasoning_is_shown_apart_or_hidden(model, capsys, hides):
    answers = Answers(model, SamplerSettings(temp=0), n_predict=4, hides_reasoning=hides)
    made = answers.answer(IDS, Screen(), PLAIN.parser(prompt="<think>"))
    text = "".join(model.generate(IDS, max_tokens=4, temperature=0))
    assert (made.content, made.reasoning) == ("", text.strip()) and text.strip()
    assert capsys.readouterr().out == ("" if hides else f"<think>\n{text.strip()}")
