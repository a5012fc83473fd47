"""What a command line means, without a model: options, errors and their exit codes."""

import io
import re
import subprocess
import sys
import warnings
from importlib import import_module
from types import SimpleNamespace

import click
import pytest
from vkrun.runtime.cli import main as entry
from vkrun.runtime.cli import model_paths, prompt, run
from vkrun.runtime.cli.answer import sampler_settings
from vkrun.runtime.cli.commands import COMMANDS
from vkrun.runtime.cli.foreign import FOREIGN, Foreign, Takes
from vkrun.runtime.cli.main import main
from vkrun.runtime.cli.options import make_command
from vkrun.runtime.cli.run_options import RunOptions
from vkrun.runtime.cli.spelling import Words, options_of
from vkrun.runtime.errors import VkrunError
from vkrun.tests.cli.running import MODEL, ON_CPU, VKRUN, environment
from vkrun.tests.slowness import slowness

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
        ("-ngl 99 x", ["x"]),
        ("-ngl99 -t4 -b=512 x", ["x"]),
        ("-t -1 x", ["x"]),
        ("-fa -v", ["-v"]),
        ("-fa x", ["x"]),
        ("-fa on x", ["x"]),
        ("--color --mlock x", ["x"]),
        ("-p -fa on", ["-p", "-fa", "on"]),
    ],
)
def test_options_apart_from_their_values(words, wanted):
    assert Words(words.split(), OPTIONS).out == wanted


LLAMA_CPP = """-ngl 99 -fa on -t 4 --no-mmap --mlock --jinja --color --no-warmup -b 2048 -ub 512 --log-disable
--simple-io --no-context-shift -sm none -mg 0 -np 1 --keep 0 --mirostat 0 --typical 1.0 --poll 50 -ncmoe 12 --cpu-moe
-ot exps=CPU -nkvo --xtc-probability 0.00 --xtc-threshold 0.1 --dry-multiplier 0.0 --dry-base 1.75 --draft-max 16
--yarn-ext-factor -1.0 --rope-freq-scale 0 -ctxcp 8 -fit off -lm mmap -ts 3,1 --no-mmproj --adaptive-target -1"""


def test_a_command_line_of_llama_cpps_just_runs():
    options = parsed(*LLAMA_CPP.split(), "-c", "64", "-ctk", "f16", "-ctv", "f32", "x")
    assert (options.words, options.ctx_size) == (("x",), 64)
    assert options.cache_types == {"cache_type_k": "f16", "cache_type_v": "f32"}
    assert len(options.without_effect) == len(re.findall(r"(?:^|\s)-+[a-z]", LLAMA_CPP))
    assert options.without_effect[0] == f"-ngl 99 changes nothing: {FOREIGN['-ngl'].why}"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("-hfv x/y", "-hfv"),
        ("--lora=a.gguf", "--lora"),
        ("-md a.gguf", "-md"),
        ("--dry-multiplier 0.8", "--dry-multiplier 0.8"),
        ("--rope-freq-base 1e6", "--rope-freq-base 1e6"),
        ("-np 4", "-np 4"),
        ("-np4", "-np 4"),
        ("--mirostat=2", "--mirostat 2"),
        ("--context-shift", "--context-shift"),
    ],
)
def test_options_that_would_change_the_answer_are_refused(capsys, words, shown):
    why = FOREIGN[shown.split()[0]].why
    assert refused(capsys, *words.split(), "x") == f"{shown}: not supported by vkrun ({why})"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--samplers penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature", {}),
        ("--samplers top_k;temp", {"top_k": 3, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0, "temp": 0.5}),
        ("--samplers top-k;min-p", {"top_k": 3, "top_p": 1.0, "repeat_penalty": 1.0, "temp": 1.0}),
        ("--sampling-seq edskypmxt", {}),
        ("--sampler-seq pt", {"top_k": 0, "top_p": 0.95, "min_p": 0.0, "repeat_penalty": 1.0, "temp": 0.5}),
    ],
)
def test_samplers_that_are_not_named_are_off(words, wanted):
    given = parsed("x", "--top-k", "3", "--temp", "0.5", "--repeat-penalty", "1.1", *words.split())
    all_on = {"top_k": 3, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.1, "temp": 0.5}
    assert {name: getattr(given, name) for name in all_on} == {**all_on, **wanted}


def test_biases_and_what_the_chat_format_is_told():
    given = parsed("x", "-l", "15043-1.5", "--logit-bias", "7+2", "-l", "3-inf")
    assert given.logit_bias == ((15043, -1.5), (7, 2.0), (3, -1e6))
    assert sampler_settings(given).logit_bias == given.logit_bias
    told = {"-rea off": {"enable_thinking": False}, "--reasoning on": {"enable_thinking": True}, "-rea auto": {}}
    told |= {
        "--reasoning-budget 0": {"enable_thinking": False},
        "--reasoning-effort high": {"reasoning_effort": "high"},
    }
    for words, wanted in told.items():
        assert run.chat_format(parsed("x", *words.split()).chat)[0].variables == wanted


def test_a_system_message_from_a_file(tmp_path, capsys):
    path = tmp_path / "s"
    path.write_text("be\\n brief\n")
    assert prompt.asked(RunOptions(system_prompt_file=str(path))).system == "be\\n brief"
    assert "-sys and -sysf: the system message comes from one place only" in refused(
        capsys, "-sys", "a", "-sysf", str(path), "x"
    )


@pytest.mark.parametrize("name", ["", "serve", "perplexity", "bench"])
def test_every_command_that_llama_cpp_has_knows_the_options_that_all_of_its_programs_share(name, capsys):
    command = make_command("") if not name else import_module(f"vkrun.runtime.cli.{name}").command
    known = {*options_of(iter(command.params)), *command.foreign, *command.context_settings["help_option_names"]}
    assert not set(SHARED.split()) - known
    assert main([*name.split(), "--version"]) == 0
    assert capsys.readouterr().out.startswith("vkrun ")


SHARED = """-h --help --usage --version -t --threads -m --model -hf --hf-repo -hff --hf-file -hft --offline -ngl -fa
-ctk -ctv -b -ub -sm -ts -mg --rpc -ot -ncmoe --n-cpu-moe -nkvo -dev --device --list-devices -lm --numa -v --verbose
--poll --prio --mmap --no-host"""


def test_a_list_of_values_that_would_give_equal_rows_is_refused(capsys):
    assert "-fa 0,1: not supported by vkrun, as the rows would not differ" in refused(capsys, "bench", "-fa", "0,1")
    assert Words(["-t", "1,2"], {}, {"-t": Foreign("so", Takes.VALUE)}).without_effect == ["-t 1,2 changes nothing: so"]


def test_no_option_is_both_declared_and_foreign():
    command = make_command("")
    declared = options_of(iter(command.params))
    assert {"--temp", "-no-cnv"} <= declared.keys() and not declared.keys() & FOREIGN.keys()


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
        (("--chat-template", "chatmk", "x"), "no template is called 'chatmk'; did you mean chatml?"),
        (("--chat-template", "chatml", "--chat-template-file", "f", "x"), "the chat format comes from one place only"),
        (("--chat-template-kwargs", "{x", "x"), "template arguments: no JSON"),
        (("--chat-template-kwargs", '{"tools": 1}', "x"), "template arguments: tools is none of them"),
        (("--chat-template", "chatml", "-no-cnv", "x"), "--chat-template and -no-cnv: there is no chat format"),
        (("--reasoning-format", "loud", "x"), "'loud' is not one of 'auto', 'none', 'deepseek'"),
        (
            ("--samplers", "top_p;top_k", "x"),
            "--samplers: top_p, top_k; vkrun asks them in the order penalties, top_k,",
        ),
        (("--samplers", "best", "x"), "--samplers: no sampler 'best'; there are penalties, top_k"),
        (("--sampler-seq", "kz", "x"), "--sampler-seq: no sampler 'z'"),
        (("--samplers", "top_k", "--sampling-seq", "k", "x"), "the samplers are named in one place only"),
        (("-l", "15043", "x"), "--logit-bias: '15043', expected a token's number and a bias"),
        (("bench", "-ncmoe", "4"), "-ncmoe 4: not supported by vkrun (the whole model runs on the device)"),
        (("serve", "--pooling", "mean"), "--pooling: not supported by vkrun (requests say so themselves)"),
        (
            ("perplexity", "--hellaswag"),
            "--hellaswag: not supported by vkrun (there is perplexity and --kl-divergence)",
        ),
        (("perplexity", "-f", "x", "-p", "y"), "-f and -p: the text comes from one place only"),
        (("--reasoning-budget", "5", "x"), "'5' is not one of '-1', '0'"),
        (("devcies",), "devcies: no command and no file; did you mean devices? As a prompt: -p devcies"),
        (("inspekt", "a.gguf"), "did you mean inspect?"),
        (("run", "a.gguf"), "run: no command and no file; a model runs without one: vkrun MODEL.gguf"),
        (("help", "everything"), "no command 'everything'; there are inspect,"),
        (("a.gguf", "b.gguf"), "a.gguf and b.gguf: two models; one is run at a time"),
        (("-m", "a.gguf", "B.GGUF"), "a.gguf and B.GGUF: two models"),
        (("a.gguf", "a prompt", "b.gguf"), "a.gguf and b.gguf: two models"),
        (("x", "-ngl"), "Option '-ngl' requires an argument."),
        (("-v", "devices"), "devices: a command comes first (vkrun devices ...); as a prompt: -p devices"),
        (("pull",), "Missing argument"),
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
    got = prompt.asked(RunOptions(words=("devcies",), model="a.gguf"))
    assert (got.model, got.prompt) == ("a.gguf", "devcies")


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
        prompt.with_stdin(RunOptions(), None)


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\t"])
def test_an_empty_pipe(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))
    with pytest.raises(click.UsageError, match="stdin is empty"):
        prompt.with_stdin(RunOptions(), None)
    assert prompt.with_stdin(RunOptions(), "given") == "given"


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


@pytest.mark.parametrize("words", [["--version"], ["inspect", MODEL], [MODEL, "hello", *ON_CPU, "-n", "2"]])
def test_a_closed_stdout_is_no_success(words):
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" >&-', VKRUN, *words], stderr=subprocess.PIPE, env=environment())
    assert (done.returncode, done.stderr) == (1, b"vkrun: stdout is closed: there is nowhere to write to\n")


def test_a_warning_is_a_line_like_any_other(capsys, monkeypatch):
    monkeypatch.setattr(run, "run", lambda _options: warnings.warn("of \x1b[31mthis", stacklevel=1))
    assert main(["x"]) == 0
    assert capsys.readouterr().err == "vkrun: of \\x1b[31mthis\n"


def test_interrupted_while_loading(capsys, monkeypatch):
    def interrupt(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run", interrupt)
    assert main(["x"]) == 130
    assert capsys.readouterr().err == "vkrun: interrupted\n"


def test_the_bundled_model_may_be_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(model_paths, "BUNDLED", tmp_path / "demo.gguf")
    for words in (["a prompt"], ["bench"]):
        assert main(words) == 1
        assert "the bundled model is missing; name a model: vkrun " in capsys.readouterr().err


def test_help_lists_options_and_commands(capsys):
    assert main(["--help"]) == main(["-h"]) == 0
    out = capsys.readouterr().out
    for word in (*COMMANDS, "--n-predict", "-sys", "-no-cnv", "--list-devices", "--repeat-last-n"):
        assert word in out
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"Usage: vkrun {'' if name == 'help' else name}")
        assert main(["help", name]) == 0
        assert capsys.readouterr().out == shown
    assert main(["help"]) == 0
    assert 2 * capsys.readouterr().out == out


def test_help_is_quick_and_loads_nothing_heavy():
    """Under 0.1 s; processor time, which other programs on the machine stretch less than the clock."""
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
        seconds.append(float(used) / slowness())
    assert min(seconds) < 0.1


@pytest.mark.parametrize("command", [[VKRUN], [sys.executable, "-m", "vkrun"]])
def test_the_installed_command(command):
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, env=environment(), check=True)
    assert re.fullmatch(r"vkrun \d+\.\d+\.\d+\n", done.stdout)
    assert subprocess.run([*command, "help", "x"], capture_output=True, env=environment()).returncode == 2
