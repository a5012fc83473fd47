"""What a command line means, without a model: options, errors and their exit codes."""

import io
import re
import subprocess
import sys
from types import SimpleNamespace

import click
import pytest
from vkrun.runtime.cli import main as entry
from vkrun.runtime.cli import prompt, run
from vkrun.runtime.cli.commands import COMMANDS
from vkrun.runtime.cli.main import main
from vkrun.runtime.cli.options import RunOptions, make_command
from vkrun.runtime.cli.spelling import UNSUPPORTED, normalise
from vkrun.runtime.errors import VkrunError
from vkrun.tests.cli.running import VKRUN, environment

OPTIONS = {"-c": True, "-n": True, "-p": True, "-sys": True, "-cnv": False, "-v": False, "--temp": True}


def parsed(*words: str) -> RunOptions:
    seen: list[RunOptions] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run", lambda options: seen.append(options) or 0)
        assert main(words) == 0
    return seen[0]


def refused(capsys, *words: str) -> str:
    """The one line with which a command line is refused, with exit code 2."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and err.startswith("vkrun: ")
    return err[len("vkrun: ") : -1]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("-c4096 -n32", ["-c", "4096", "-n", "32"]),
        ("-n-1", ["-n", "-1"]),
        ("-n -1", ["-n", "-1"]),
        ("-c=7 --temp=0.5", ["-c", "7", "--temp", "0.5"]),
        ("-sys text -cnv -v word", ["-sys", "text", "-cnv", "-v", "word"]),
        ("-p -ngl", ["-p", "-ngl"]),
        ("-p --", ["-p", "--"]),
        ("-v -- -ngl", ["-v", "--", "-ngl"]),
        ("- x", ["-", "x"]),
    ],
)
def test_options_apart_from_their_values(words, wanted):
    assert normalise(words.split(), OPTIONS) == wanted


@pytest.mark.parametrize("word", ["-ngl33", "-ngl", "-ngl=33", "--n-gpu-layers", "-t4", "-np", "-hf", "--mlock"])
def test_options_that_are_not_supported(capsys, word):
    name = re.split(r"[0-9=]", word)[0]
    assert refused(capsys, word, "x") == f"{name}: not supported by vkrun ({UNSUPPORTED[name]})"


def test_no_option_is_both_declared_and_unsupported():
    declared = {name for p in make_command("").params for name in (*p.opts, *p.secondary_opts)}
    assert not declared & set(UNSUPPORTED)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tmep", "1"), "no option --tmep; did you mean --temp?"),
        (("-prompt", "x"), "no option -prompt; did you mean --prompt?"),
        (("-vx",), "no option -vx"),
        (("-c", "many", "x"), "'many' is not a valid integer"),
        (("-c", "-4", "x"), "-4 is not in the range"),
        (("--temp", "-1", "x"), "temp: -1.0, expected a number from 0"),
        (("--top-p", "nan", "x"), "top_p: nan, expected a number from 0 to 1"),
        (("--opt", "4", "x"), "4 is not in the range"),
        (("-p",), "requires an argument"),
        (("def", "f(x):"), "'def' is taken for the prompt, as it names no file, and 'f(x):' follows it"),
        (("x", "-p", "y"), "PROMPT and -p: the prompt comes from one place only"),
        (("-p", "x", "-f", "y"), "-p and -f: the prompt comes from one place only"),
        (("-sys", "s", "-no-cnv", "x"), "-sys and -no-cnv"),
        (("--ignore-eos=1", "x"), "does not take a value"),
        (("-v", "devices"), "devices: a command comes first (vkrun devices ...); as a prompt: -p devices"),
        (("inspect",), "Missing argument"),
        (("inspect", "--frob", "x"), "--frob"),
        (("test-ops", "-o", "frobnicate"), "no cases for op frobnicate"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(capsys, words, message):
    assert message in refused(capsys, *words)


def test_every_spelling_means_the_same():
    for words in ("-n 3", "-n3", "--predict 3", "--n-predict 3", "--predict=3"):
        assert parsed("x", *words.split()).predict == 3
    assert parsed("x", "-cnv").conversation is True
    assert parsed("x", "-no-cnv").conversation is parsed("x", "--no-conversation").conversation is False
    assert parsed("x", "--no-escape").escape is False and parsed("x", "-e").escape is True
    assert parsed("x").escape is None
    assert parsed("-sys", "-x", "y").system_prompt == "-x"
    assert parsed("x", "--device", "1").device == parsed("x", "-dev", "1").device == "1"


def test_the_defaults_of_the_command_are_those_of_its_options():
    assert parsed() == RunOptions()


def test_which_word_is_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").write_bytes(b"")
    cases = {
        ("a prompt",): (None, "a prompt"),
        ("gone.gguf",): ("gone.gguf", None),
        ("GONE.GGUF", "p"): ("GONE.GGUF", "p"),
        ("model", "p"): ("model", "p"),
        ("x" * 5000,): (None, "x" * 5000),
        ("nul\0",): (None, "nul\0"),
        (): (None, None),
    }
    for words, (model, text) in cases.items():
        got = prompt.asked(RunOptions(words=words))
        assert (got.model, got.prompt) == (model, text)
    got = prompt.asked(RunOptions(words=("b.gguf",), model="a.gguf"))
    assert (got.model, got.prompt) == ("a.gguf", "b.gguf")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"a\nb\tc\rd", "a\nb\tc\rd"),
        (r"\\n", r"\n"),
        (r"\'\"", "'\""),
        (r"\x41\xe2\x82\xac", "A€"),
        (r"\xff", "\ufffd"),
        (r"\q \x \d+", r"\q \x \d+"),
        ("end\\", "end\\"),
    ],
)
def test_escapes(text, wanted):
    assert prompt.unescape(text) == wanted
    assert prompt.asked(RunOptions(prompt=text)).prompt == wanted
    assert prompt.asked(RunOptions(prompt=text, escape=False)).prompt == text


def test_a_file_keeps_its_backslashes_unless_asked_otherwise(tmp_path):
    path = tmp_path / "p"
    path.write_text('print("a\\n")\n')
    assert prompt.asked(RunOptions(file=str(path))).prompt == 'print("a\\n")'
    assert prompt.asked(RunOptions(file=str(path), escape=True)).prompt == 'print("a\n")'


def test_text_that_is_not_utf8(tmp_path, monkeypatch):
    path = tmp_path / "p"
    path.write_bytes(b"ab\xff")
    with pytest.raises(VkrunError, match=r"byte 2 \(0xff\) is not UTF-8"):
        prompt.asked(RunOptions(file=str(path)))
    with pytest.raises(VkrunError, match=r"prompt: byte 1 \(0xfe\) is not UTF-8"):
        prompt.asked(RunOptions(prompt="a\udcfe"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\xc3"), isatty=lambda: False))
    with pytest.raises(VkrunError, match=r"stdin: byte 0 \(0xc3\) is not UTF-8"):
        prompt.read_stdin(RunOptions())


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\t"])
def test_an_empty_pipe(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))
    with pytest.raises(click.UsageError, match="stdin is empty"):
        prompt.read_stdin(RunOptions())


def test_an_unexpected_error_is_one_line(capsys, monkeypatch):
    def fail(_options):
        raise RuntimeError("two\nlines \x1b[2J")

    monkeypatch.setattr(run, "run", fail)
    monkeypatch.delenv("VKRUN_DEBUG", raising=False)
    assert main(["x"]) == entry.FAILED
    assert capsys.readouterr().err == "vkrun: RuntimeError: two lines \\x1b[2J (VKRUN_DEBUG=1 shows the traceback)\n"
    monkeypatch.setenv("VKRUN_DEBUG", "1")
    assert main(["x"]) == entry.FAILED
    assert "Traceback" in capsys.readouterr().err


def test_output_that_cannot_be_written():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([VKRUN, "--version"], stdout=full, stderr=subprocess.PIPE, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (1, b"vkrun: No space left on device\n")


def test_interrupted_while_loading(capsys, monkeypatch):
    def interrupt(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run", interrupt)
    assert main(["x"]) == 130
    assert capsys.readouterr().err == "vkrun: interrupted\n"


def test_the_bundled_model_may_be_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "BUNDLED", tmp_path / "demo.gguf")
    assert main(["a prompt"]) == 1
    assert "the bundled model is missing; name a model" in capsys.readouterr().err


def test_help_lists_options_and_commands(capsys):
    assert main(["--help"]) == main(["-h"]) == 0
    out = capsys.readouterr().out
    for word in (*COMMANDS, "--n-predict", "-sys", "-no-cnv", "--list-devices", "--repeat-last-n"):
        assert word in out
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert f"Usage: vkrun {name}" in capsys.readouterr().out


def test_help_is_quick_and_loads_nothing_heavy():
    """Under 0.2 s; processor time, which other programs on the machine stretch less than the clock."""
    code = (
        "import sys, resource; from vkrun.runtime.cli.main import main; assert main(sys.argv[1:]) == 0;"
        "used = resource.getrusage(resource.RUSAGE_SELF);"
        "print(used.ru_utime + used.ru_stime, *sorted({n.split('.')[0] for n in sys.modules}), file=sys.stderr)"
    )
    seconds = []
    for word in ("--help", "--version", "--help", "--help", "--help"):
        done = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True, check=True)
        used, *modules = done.stderr.split()
        assert not {"numpy", "gguf", "vulkan", "rich", "tokenizers", "jinja2", "prompt_toolkit"} & set(modules)
        seconds.append(float(used))
    assert min(seconds) < 0.2


def test_the_installed_command():
    done = subprocess.run([VKRUN, "--version"], capture_output=True, text=True, env=environment(), check=True)
    assert re.fullmatch(r"vkrun \d+\.\d+\.\d+\n", done.stdout)
