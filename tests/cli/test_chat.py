"""The chat on a pseudo-terminal."""

import re
import stat

import pytest
import vkrun as library
from vkrun.runtime.cli import chat as chats
from vkrun.runtime.cli.answer import Answers
from vkrun.runtime.cli.conversation import ChatFormat, Conversation
from vkrun.runtime.errors import VkrunError
from vkrun.runtime.text.answers.deltas import answer_of
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.cli.running import MODEL, ON_CPU, Terminal, errors, vkrun

PROMPT = r"\n> "


@pytest.fixture(scope="module")
def model():
    with library.load(MODEL, backend="cpu", n_ctx=192) as loaded:
        yield loaded


@pytest.fixture
def home(tmp_path):
    return {"HOME": str(tmp_path), "XDG_DATA_HOME": ""}


def chat(home, *words):
    return Terminal(MODEL, *ON_CPU, "-s", "1", *words, **home)


def test_a_chat(home):
    with chat(home, "-n", "4") as terminal:
        hello = terminal.wait_for(PROMPT)
        assert "running on a software device" in hello and "plain `User:` and `Assistant:` lines" in hello
        terminal.type("hi\n")
        assert terminal.wait_for(PROMPT).startswith("hi\n")
        terminal.type("/stats\n")
        figures = terminal.wait_for(PROMPT)
        assert "eval time" in figures and "/     4 runs" in figures and "of 4096 tokens of context" in figures
        terminal.type('"""one\ntwo\nthree"""\n')
        terminal.wait_for(PROMPT)
        terminal.type("/clear\n")
        assert "forgotten" in terminal.wait_for(PROMPT)
        terminal.type("/frobnicate\n")
        assert "no command /frobnicate; /help lists them" in terminal.wait_for(PROMPT)
        terminal.type("/set temp 0\n")
        assert "temp is 0 now" in terminal.wait_for(PROMPT)
        terminal.type("/set temp hot\n")
        assert "temp: 'hot', expected a number" in terminal.wait_for(PROMPT)
        terminal.type("/set reasoning hidden\n")
        assert "reasoning is hidden now" in terminal.wait_for(PROMPT)
        terminal.type("/set reasoning loud\n")
        assert "reasoning: 'loud', expected shown or hidden" in terminal.wait_for(PROMPT)
        terminal.type("/set\n")
        assert "temp               0.0" in terminal.wait_for(PROMPT)
        terminal.type("/help\n")
        assert "/bye" in terminal.wait_for(PROMPT)
        terminal.type("/bye\n")
        assert terminal.ends() == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(home):
    with chat(home, "--ignore-eos") as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("hi\n")
        terminal.wait_for("hi\n.+")  # the answer has begun
        terminal.type("\x03")
        terminal.wait_for(PROMPT)
        terminal.type("/set n 3\n")
        terminal.wait_for(PROMPT)
        terminal.type("again\n")
        terminal.wait_for(PROMPT)
        terminal.type("/stats\n")
        assert "/     3 runs" in terminal.wait_for(PROMPT)
        terminal.type("half a line")
        terminal.wait_for("half a line")
        terminal.type("\x03")
        assert "Ctrl-D or /bye leaves" in terminal.wait_for(PROMPT)
        terminal.type("\x04")
        assert terminal.ends() == 0


def test_ctrl_c_that_another_thread_gets_is_seen_at_once(home):
    with chat(home) as terminal:
        terminal.wait_for(PROMPT)
        for _ in range(3):
            terminal.type("half a line")
            terminal.wait_for("half a line")
            terminal.interrupt_thread()
            assert "Ctrl-D or /bye leaves" in terminal.wait_for(PROMPT)
        terminal.type("/help\n")
        assert "/bye" in terminal.wait_for(PROMPT)
        terminal.type("\x04")
        assert terminal.ends() == 0


def test_the_history_outlives_the_chat(home, tmp_path):
    with chat(home, "-n", "1") as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("remember me\n")
        terminal.wait_for(PROMPT)
        terminal.type("\x04")
        assert terminal.ends() == 0
    history = tmp_path / ".local/share/vkrun/history"
    assert history.read_text().splitlines() == ["remember me"]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    with chat(home, "-n", "1") as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("\x1b[A")  # arrow up
        terminal.wait_for("remember me")
        terminal.type("\n\x04")
        assert terminal.ends() == 0


def test_without_a_home_there_is_no_history_and_no_complaint():
    with chat({"HOME": "", "XDG_DATA_HOME": ""}, "-n", "1") as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("/bye\n")
        assert terminal.ends() == 0
        assert "history" not in terminal.text


def test_a_full_context_forgets_the_oldest_turns(home):
    with chat(home, "-c", "48", "--ignore-eos") as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("hi\n")
        said = terminal.wait_for(PROMPT)
        assert "the context of 48 tokens is full; the oldest turns make room for the next message" in said
        for _ in range(3):
            terminal.type("more\n")
            assert "the oldest turn is forgotten to make room in the context of 48" in terminal.wait_for(PROMPT)
        terminal.type("x" * 60 + "\n")
        assert re.search("the message has [0-9]+ tokens, the context holds 48", terminal.wait_for(PROMPT))
        terminal.type("/clear\n")
        terminal.wait_for(PROMPT)
        terminal.type("hi\n")
        assert "forgotten" not in terminal.wait_for(PROMPT)
        terminal.type("\x04")
        assert terminal.ends() == 0


def test_so_many_turns_are_forgotten_that_the_next_need_not_be(model, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(chats, "note", said.append)
    said_so_far = Conversation(model, "be brief", is_code=False)
    talk = chats.Chat(Answers(model, SamplerSettings(temp=0), n_predict=2), said_so_far, 0.0, False)
    sizes = []
    for i in range(12):
        talk._conversation.add("user", f"question {i}")
        sizes.append(len(talk._prompt().ids))
        talk._conversation.add("assistant", f"answer {i}")
    n_ctx = model.info.n_ctx
    assert 0 < len(said) < 8 and any("oldest turns are forgotten" in line for line in said)
    assert max(sizes) <= n_ctx * chats.TOO_FULL
    assert "be brief" in model.detokenize(talk._prompt().ids) and "question 11" in model.detokenize(talk._prompt().ids)
    talk._conversation.add("user", "long " * n_ctx)
    with pytest.raises(VkrunError, match=f"the message has .* tokens, the context holds {n_ctx}"):
        talk._prompt()
    talk._conversation.take_back()
    assert "question 11" in model.detokenize(talk._prompt().ids)  # forgotten for nothing


def test_the_oldest_turn_goes_with_its_answer(model):
    talk = Conversation(model, None, is_code=True)
    for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")):
        talk.add(role, text)
    n = len(talk.prompt().ids)
    assert talk.shorten(n) == (talk.prompt(), 0)
    assert talk.shorten(0) == (talk.prompt(), 0)
    assert len(talk.prompt().ids) == n  # nothing helps, so nothing is forgotten
    assert talk.shorten(n - 1) == (talk.prompt(), 1) and model.detokenize(talk.prompt().ids) == "cd\ne"
    assert talk.shorten(1)[1] == 1 and model.detokenize(talk.prompt().ids) == "e"


def test_a_chat_from_a_pipe():
    done = vkrun(MODEL, *ON_CPU, "-cnv", "-n", "3", "-s", "1", stdin=b"one\n\n/stats\n")
    assert done.returncode == 0
    assert sum("eval time" in line for line in errors(done)) == 2


THINKING = "{% for m in messages %}{{ m.content }}{{ m.reasoning_content }}{% endfor %}{{ more }}<think>\n"


def test_reasoning_is_dimmed_and_reaches_the_next_prompt_as_the_template_wants(home):
    options = ("--chat-template", THINKING, "--chat-template-kwargs", '{"more": "import"}', "-n", "6", "--ignore-eos")
    with chat(home, *options) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("hi\n")
        assert "\x1b[2m" in terminal.wait_for(PROMPT)
        terminal.type("/set reasoning hidden\n")
        terminal.wait_for(PROMPT)
        terminal.type("hi\n")
        assert "\x1b[2m" not in terminal.wait_for(PROMPT)
        terminal.type("/bye\n")
        assert terminal.ends() == 0


def test_a_conversation_keeps_reasoning_apart(model, monkeypatch):
    monkeypatch.setattr(model, "_chat", None)
    model.use_template(
        "{% for m in messages %}{{ m.role }}:{{ m.reasoning_content }}:{{ m.content }};{% endfor %}{{ x }}"
    )
    talk = Conversation(model, None, False, ChatFormat({"x": "<think>"}))
    talk.add("user", "hi")
    assert talk.prompt().text == "user::hi;<think>"
    answer = answer_of(talk.parser(talk.prompt()).feed("hm</think>Yes"))
    talk.add_answer(answer)
    assert talk.prompt().text == "user::hi;assistant:hm:Yes;<think>"
    talk._form = ChatFormat(reasoning="none")
    assert answer_of(talk.parser(talk.prompt()).feed("<think>hm")).content == "<think>hm"
