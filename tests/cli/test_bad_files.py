"""Bad model files through the command: exit code 1, one line, and no device is asked for."""

import re
import time

import pytest
from vkrun.backends import registry
from vkrun.runtime.cli.main import main
from vkrun.tests import gguf_corpus as corpus
from vkrun.tests.cli.running import errors, vkrun
from vkrun.tests.model_files import Shape, write_model

FILES = list(corpus.bad_files())


@pytest.fixture(autouse=True)
def no_devices(monkeypatch):
    def touched(*_args):
        raise AssertionError("a device was asked for")

    monkeypatch.setattr(registry, "choose", touched)
    monkeypatch.setattr(registry, "get", touched)


def the_line(capsys, *words: str) -> str:
    before = time.perf_counter()
    code = main(words)
    assert time.perf_counter() - before < 1
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert err.startswith("vkrun: ") and err[:-1].isprintable()
    return err


@pytest.mark.parametrize("kind", sorted({bad.name.split("_")[0] for bad in FILES}))
def test_every_file_of_the_corpus(capsys, tmp_path, kind):
    path = tmp_path / "bad.gguf"
    for bad in FILES:
        if bad.name.split("_")[0] == kind:
            path.write_bytes(bad.data)
            assert re.search(bad.message, the_line(capsys, str(path), "hello")), bad.name
            the_line(capsys, "inspect", str(path))


def test_files_that_are_sound_but_no_model(capsys, tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(corpus.good_file())
    said = the_line(capsys, str(path), "hello")
    assert "general.architecture: test is not supported, the nearest is " in said and "qwen3, " in said
    path.write_bytes(corpus.build())
    assert "general.architecture: missing key" in the_line(capsys, str(path), "hello", "-c", "0")
    red = corpus.key("general.architecture", corpus.STRING, corpus.string("[red]\x1b[31m"))
    path.write_bytes(corpus.build([red]))
    assert r"[red]\x1b[31m is not supported" in the_line(capsys, str(path), "hello")


def test_a_model_with_a_part_missing(capsys, tmp_path):
    path = write_model(tmp_path / "a.gguf", Shape(n_layers=2))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"blk.1.ssm_out", b"blk.1.ssm_oat"))
    assert "blk.1.ssm_out.weight: missing tensor" in the_line(capsys, str(path), "hello")
    path.write_bytes(data[:-100])
    assert "the file at byte" in the_line(capsys, str(path), "hello")


@pytest.mark.parametrize("name", ["magic", "cut_at_30", "nested_deep", "control"])
def test_by_the_real_command(tmp_path, name):
    bad = next(f for f in FILES if f.name == name)
    path = tmp_path / "bad.gguf"
    path.write_bytes(bad.data)
    done = vkrun(str(path))  # with nothing on stdin: the file is looked at first
    assert (done.returncode, done.stdout, len(errors(done))) == (1, b"", 1)
    assert re.search(bad.message, errors(done)[0])
