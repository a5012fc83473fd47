"""Completions by the real command: where the prompt comes from, what is printed, how it stops."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from vkrun.tests.cli.running import MODEL, ON_CPU, VKRUN, Terminal, environment, errors, vkrun
from vkrun.tests.model_files import write_model

GREEDY = ("--temp", "0", "-n", "6")


@pytest.fixture(scope="module")
def completion():
    return vkrun(MODEL, "hello", *ON_CPU, *GREEDY, "--stats")


def test_the_prompt_and_what_follows_are_printed(completion):
    assert completion.returncode == 0
    assert completion.stdout.startswith(b"hello") and completion.stdout.endswith(b"\n")
    assert len(completion.stdout) > len("hello\n")


def test_stats_and_the_software_device_are_on_stderr(completion):
    first, *figures = errors(completion)
    assert first.startswith("vkrun: running on a software device: ")
    assert [line.split("=")[0].removeprefix("vkrun:").strip() for line in figures] == [
        "load time",
        "prompt eval time",
        "eval time",
        "total time",
    ]
    assert "/     6 runs" in figures[2] and "tokens per second" in figures[2]


def test_a_pipe_a_file_and_an_option_give_the_same(completion, tmp_path):
    wanted = completion.stdout
    assert vkrun(MODEL, *ON_CPU, *GREEDY, stdin=b"hello\n").stdout == wanted
    (tmp_path / "prompt.txt").write_text("hello\n")
    assert vkrun("-m", MODEL, *ON_CPU, *GREEDY, "-f", str(tmp_path / "prompt.txt")).stdout == wanted
    assert vkrun(MODEL, *ON_CPU, *GREEDY, "-f", "-", stdin=b"hello\n").stdout == wanted
    bare = vkrun("-m", MODEL, "-p", r"\x68ello", *ON_CPU, "--temp", "0", "-n6", "-c64", "--no-display-prompt")
    assert b"hello" + bare.stdout == wanted


def test_a_pipe_beside_a_prompt_goes_before_it():
    done = vkrun(MODEL, "hello", *ON_CPU, *GREEDY, stdin=b"piped\n")
    assert done.stdout.startswith(b"piped\nhello")
    assert done.stdout == vkrun(MODEL, "-p", r"piped\nhello", *ON_CPU, *GREEDY).stdout


def test_a_pipe_that_stays_open_is_told_of():
    words = [VKRUN, MODEL, "hello", *ON_CPU, *GREEDY]
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, env=environment(), **pipe) as process:
        assert b"reading stdin, which goes before the prompt" in process.stderr.readline()
        stdout, _ = process.communicate(b"late", timeout=30)
    assert process.returncode == 0 and stdout.startswith(b"late\nhello")


def test_a_file_that_is_taken_for_the_prompt_is_told_of():
    done = vkrun(MODEL, __file__, *ON_CPU, "-n", "0")
    assert done.stdout.decode() == f"{__file__}\n"
    assert "is taken for the prompt itself; -f reads it from that file" in errors(done)[0]


def test_llama_cpps_options_are_noted_with_v(completion):
    words = ("-ngl", "99", "-fa", "on", "-t4", "--no-mmap")
    assert vkrun(MODEL, "hello", *ON_CPU, *GREEDY, *words).stdout == completion.stdout
    said = errors(vkrun(MODEL, "hello", *ON_CPU, *GREEDY, *words, "-v"))
    assert sum("changes nothing: " in line for line in said) == 4


def test_an_error_does_not_stick_to_the_echo():
    with Terminal(MODEL, "hello " * 9, *ON_CPU, "-c", "16") as terminal:
        assert terminal.ends() == 1
        assert terminal.text.splitlines()[-1].startswith("vkrun: the prompt has ")
        assert "hello" not in terminal.text


def test_controls_are_escaped_on_a_terminal_and_raw_in_a_pipe():
    words = (MODEL, *ON_CPU, *GREEDY, "-p", r"a\x1b[31mb\rc")
    assert vkrun(*words).stdout.startswith(b"a\x1b[31mb\rc")
    with Terminal(*words) as terminal:
        assert terminal.ends() == 0
        assert r"a\x1b[31mb\x0dc" in terminal.text and "\x1b" not in terminal.text


def test_sigint_ends_a_completion_with_130():
    words = [VKRUN, MODEL, "hello", *ON_CPU, "--ignore-eos", "--stats"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout.read(6)  # one piece beyond the prompt
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in stderr and b"total time" in stderr


def test_a_closed_pipe_ends_it_quietly():
    words = [VKRUN, MODEL, "hello", *ON_CPU, "--ignore-eos", "-n", "500"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        process.stdout.read(6)
        process.stdout.close()
        stderr = process.stderr.read().decode()
        assert process.wait(30) == 141
    assert [line for line in stderr.splitlines() if "software device" not in line] == []


def test_a_full_context_is_said():
    done = vkrun(MODEL, "hello", *ON_CPU, "--ignore-eos", "-c", "16")
    assert done.returncode == 0
    assert errors(done)[-1] == "vkrun: the context of 16 tokens is full; a larger -c holds more"
    done = vkrun(MODEL, "hello" * 10, *ON_CPU, "-c", "16")
    assert done.returncode == 1 and "the context holds 16" in errors(done)[-1]


def test_one_answer_in_the_chat_format():
    done = vkrun(MODEL, "hello", "-sys", "be brief", *ON_CPU, *GREEDY)
    assert done.returncode == 0 and not done.stdout.startswith(b"hello")
    assert any("plain `User:`" in line for line in errors(done))


def test_a_model_without_a_tokenizer_says_so(tmp_path):
    done = vkrun(str(write_model(tmp_path / "random.gguf")), "hello", *ON_CPU)
    assert done.returncode == 1
    assert "no tokenizer" in errors(done)[-1]


@pytest.mark.parametrize("model", ["missing.gguf", "/", __file__])
def test_a_bad_file_is_refused_at_once(model):
    before = time.perf_counter()
    done = vkrun(model, "hello")
    seconds = time.perf_counter() - before
    assert done.returncode == 1 and not done.stdout
    assert len(errors(done)) == 1 and errors(done)[0].startswith(f"vkrun: {model}: ")
    assert seconds < 3  # under one on a machine with nothing else to do


def test_an_unknown_pre_tokenizer_is_told_of_in_one_line(tmp_path):
    data = Path(MODEL).read_bytes()
    at = data.index(b"qwen2", data.index(b"tokenizer.ggml.pre"))
    (tmp_path / "a.gguf").write_bytes(data[:at] + b"qwenX" + data[at + 5 :])
    done = vkrun(str(tmp_path / "a.gguf"), "hello", *ON_CPU, "-n", "1")
    said = "vkrun: tokenizer.ggml.pre: 'qwenX' is not known; words are cut by the default rule"
    assert done.returncode == 0 and errors(done).count(said) == 1 and len(errors(done)) == 2


def test_a_prompt_in_a_chat_format_of_ones_own(tmp_path):
    """By text or from a file, with variables; what the model thinks is apart, and can be left in or hidden."""
    path = tmp_path / "format.jinja"
    path.write_text("{{ messages[0].content }}{{ more }}<think>\n")
    given = ("--chat-template-file", str(path), "--chat-template-kwargs", '{"more": "import os"}')
    same = ("--chat-template", "{{ messages[0].content }}import os<think>\n")
    how = (MODEL, *ON_CPU, "-n", "6", "--temp", "0", "--ignore-eos", "-p", "x")
    shown, plain, hidden = (
        vkrun(*how, *more, *given) for more in ((), ("--reasoning-format", "none"), ("--hidethinking",))
    )
    assert shown.stdout.startswith(b"<think>\n") and shown.stdout.endswith(b"\n</think>\n\n")
    assert plain.stdout.strip() == shown.stdout[8:-11].strip() != b"" and hidden.stdout == b""
    assert vkrun(*how, *same).stdout == shown.stdout
    missing = vkrun(*how, "--chat-template-file", str(tmp_path / "none"))
    assert missing.returncode == 1 and "--chat-template-file" in errors(missing)[-1]
