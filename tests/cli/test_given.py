"""What a command line gives that cannot be: numbers that are none, files that cannot be read, no text at all."""

import pytest
from vkrun.runtime.cli.main import main
from vkrun.tests.cli.running import MODEL, ON_CPU, errors, vkrun


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(words)
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1
    return code, err.removeprefix("vkrun: ").rstrip("\n")


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "many", "x"),
        ("serve", "--port", "many"),
        ("serve", "-np", "many"),
        ("bench", "-r", "many"),
        ("perplexity", "--chunks", "many"),
        ("graph", MODEL, "--tokens", "many"),
        ("test-ops", "--opt", "many"),
        ("chat", "-n", "many"),
    ],
)
def test_a_word_that_is_no_number(capsys, words):
    code, text = said(capsys, *words)
    assert code == 2 and text.endswith(": 'many' is not a valid integer.")


def test_seconds_that_are_no_number(capsys):
    assert said(capsys, "serve", "-to", "soon")[1].endswith(": 'soon' is not a valid number.")


@pytest.mark.parametrize(
    "words",
    [
        ("-f", "{}", "-n", "1"),
        ("x", "--grammar-file", "{}"),
        ("x", "-jf", "{}"),
        ("x", "--chat-template-file", "{}"),
        ("x", "-sysf", "{}"),
        ("serve", MODEL, "--api-key-file", "{}"),
        ("perplexity", MODEL, "-f", "{}"),
    ],
)
def test_a_file_is_named_with_its_option(capsys, tmp_path, words):
    path = tmp_path / "text"
    code, text = said(capsys, *(word.format(path) for word in words))
    assert code == 1 and text.startswith("-") and text.endswith(f" {path}: cannot read: No such file or directory")
    path.write_bytes(b"ab\xff")
    assert said(capsys, *(word.format(path) for word in words))[1].endswith(f"{path}: byte 2 (0xff) is not UTF-8")


def test_a_certificate_that_is_none_is_told_before_anything_is_loaded(capsys, tmp_path):
    empty = tmp_path / "c.pem"
    words = ("serve", MODEL, "--ssl-cert-file", str(empty), "--ssl-key-file", str(empty))
    wanted = f"--ssl-cert-file {empty}, --ssl-key-file {empty}: "
    assert said(capsys, *words) == (1, wanted + "No such file or directory")
    empty.write_text("")
    assert said(capsys, *words) == (1, wanted + "no certificate and key in PEM")


def test_variables_of_a_template_are_read_the_same_for_a_server(capsys):
    code, text = said(capsys, "serve", MODEL, "--chat-template-kwargs", '{"tools": 1}')
    assert (code, text) == (2, "template arguments: tools is none of them")


def test_an_empty_prompt_is_refused():
    for words in (("-p", ""), ("",)):
        done = vkrun(MODEL, *words, *ON_CPU, "-n", "2")
        assert done.returncode != 0 and errors(done)[-1] == "vkrun: prompt: empty, expected at least one token"
