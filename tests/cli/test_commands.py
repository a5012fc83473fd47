"""inspect, devices, test-ops."""

import json

import numpy as np
import pytest
from vkrun.backends import registry
from vkrun.backends.base import Backend, Device, DeviceInfo
from vkrun.runtime.cli import devices, ops_report
from vkrun.runtime.cli.main import main
from vkrun.runtime.errors import BackendError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.tests import gguf_corpus as corpus
from vkrun.tests.cli.running import MODEL, errors, vkrun


def printed(capsys, *words: str) -> str:
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert not err
    return out


def test_inspect_prints_keys_tensors_and_sizes(capsys):
    out = printed(capsys, "inspect", MODEL)
    with GGUFFile.open(MODEL) as f:
        for name in (*f.keys, *f.tensors):
            assert f"\n{name} " in out
        assert out.rstrip().splitlines()[-1].split()[:2] == ["all", str(len(f.tensors))]
    assert "qwen3next" in out.splitlines()[0]


def test_inspect_as_json(capsys):
    got = json.loads(printed(capsys, "inspect", "--json", MODEL))
    with GGUFFile.open(MODEL) as f:
        assert list(got["keys"]) == list(f.keys) and got["version"] == f.version
        assert got["keys"]["tokenizer.ggml.tokens"]["value"] == f.keys["tokenizer.ggml.tokens"]
        assert [(t["name"], tuple(t["shape"]), t["offset"], t["nbytes"]) for t in got["tensors"]] == [
            (t.name, t.shape, t.offset, t.nbytes) for t in f.tensors.values()
        ]


def test_inspect_of_untrusted_strings(capsys, tmp_path):
    keys = [corpus.key("k", corpus.STRING, corpus.string(b"[bold]\x1b[31m\n\xff"))]
    keys.append(corpus.key("nan", corpus.F32, corpus.number(corpus.F32, float("nan"))))
    path = tmp_path / "a.gguf"
    path.write_bytes(corpus.build(keys))
    out = printed(capsys, "inspect", str(path))
    assert r"[bold]\x1b[31m\n\xff" in out and "\x1b" not in out
    got = json.loads(printed(capsys, "inspect", "--json", str(path)))["keys"]
    assert got["k"]["value"].encode("utf-8", "surrogateescape") == b"[bold]\x1b[31m\n\xff"
    assert got["nan"]["value"] == "nan"


def test_an_array_in_json_is_whole(capsys, tmp_path):
    values = np.arange(1000, dtype="<i4")
    array = corpus.array(corpus.I32, values.tobytes(), values.size)
    (tmp_path / "a.gguf").write_bytes(corpus.build([corpus.key("a", corpus.ARRAY, array)]))
    got = json.loads(printed(capsys, "inspect", "--json", str(tmp_path / "a.gguf")))
    assert got["keys"]["a"] == {"type": "array of int32", "value": values.tolist()}


class Faked(Backend):
    """A backend with the devices and the complaint it is given."""

    def __init__(self, name: str, found: list[DeviceInfo], why: str = "") -> None:
        self.name, self._found, self._why = name, found, why

    def devices(self) -> list[DeviceInfo]:
        return self._found

    def why_missing(self) -> str:
        return self._why

    def open(self, info: DeviceInfo) -> Device:
        raise BackendError(info.name)


@pytest.fixture
def fakes(monkeypatch):
    features = {"float16": True, "cooperative_matrix": False, "subgroup_size": 32}
    gpu = DeviceInfo("vulkan", 1, "GPU \x1b[31m[X]", "driver 1.2", "discrete gpu", "abcd", 8 << 30, 6 << 30, features)
    old = DeviceInfo("vulkan", 0, "Old one", missing="it lacks storage buffers")
    all_of = {
        "vulkan": Faked("vulkan", [old, gpu]),
        "kompute": Faked("kompute", [], "kompute: kp is not installed"),
        "cpu": Faked("cpu", [DeviceInfo("cpu", 0, "x86_64")]),
    }
    monkeypatch.setattr(registry, "names", lambda: list(all_of))
    monkeypatch.setattr(registry, "get", all_of.__getitem__)
    for name in ("VKRUN_BACKEND", "VKRUN_DEVICE"):
        monkeypatch.delenv(name, raising=False)


def test_devices_tells_all_there_is_and_is_not(capsys, fakes):
    lines = printed(capsys, "devices").splitlines()
    assert "* 1: GPU \\x1b[31m[X] (discrete gpu)" in lines
    assert "     driver    driver 1.2" in lines and "     uuid      abcd" in lines
    assert "     memory    8.0 GiB, 6.0 GiB free" in lines
    assert "     features  float16, subgroup_size 32" in lines
    assert "     lacks     cooperative_matrix" in lines
    assert "     missing   it lacks storage buffers" in lines
    assert "kompute: kp is not installed" in lines
    assert lines[-1] == "* is used unless --backend or --device says otherwise: vulkan 1"
    assert printed(capsys, "--list-devices").splitlines() == lines


def test_devices_as_json(capsys, fakes):
    got = json.loads(printed(capsys, "devices", "--json"))["backends"]
    assert got["kompute"] == {"why_missing": "kompute: kp is not installed", "devices": []}
    assert [d["is_default"] for d in got["vulkan"]["devices"]] == [False, True]
    assert got["vulkan"]["devices"][1]["memory_free"] == 6 << 30


def test_devices_with_a_wish_that_nothing_fits(capsys, fakes, monkeypatch):
    monkeypatch.setenv("VKRUN_DEVICE", "nothing of the kind")
    lines = printed(capsys, "devices").splitlines()
    assert "no device nothing of the kind" in lines[-1] and not any(line.startswith("*") for line in lines)


def test_devices_of_this_machine():
    done = vkrun("devices", "--json")
    assert done.returncode == 0 and not errors(done)
    assert {"vulkan", "kompute", "cpu"} <= json.loads(done.stdout)["backends"].keys()


NO_DRIVER = {"VK_DRIVER_FILES": "/none", "VK_ICD_FILENAMES": "/none"}


def test_without_a_driver_every_command_lives_and_says_so():
    """kp, where it is installed, would end the process."""
    done = vkrun("devices", "--json", **NO_DRIVER)
    assert done.returncode == 0 and not errors(done)
    found = json.loads(done.stdout)["backends"]
    assert all(found[name]["why_missing"] and not found[name]["devices"] for name in ("vulkan", "kompute"))
    done = vkrun(MODEL, "hello", "-n", "2", **NO_DRIVER)
    assert done.returncode == 0 and done.stdout.startswith(b"hello")
    assert "running on a software device: " in errors(done)[0] and "(cpu); no GPU was found" in errors(done)[0]
    done = vkrun(MODEL, "hello", "--backend", "kompute", **NO_DRIVER)
    assert done.returncode == 1 and "no device of backend kompute" in errors(done)[-1]


def test_devices_shows_numbers_and_not_only_names():
    assert devices._memory(DeviceInfo("b", 0, "n", memory=3 << 20)) == "3.0 MiB"
    assert devices._memory(DeviceInfo("b", 0, "n")) == ""


def test_test_ops_prints_the_matrix(capsys):
    assert main(["test-ops", "-o", "l2_norm", "--backend", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "l2_norm" in out and " ok" in out and "FAILED" not in out


def test_test_ops_fails_where_an_op_does(capsys, monkeypatch):
    from vkrun.runtime.optable import matrix

    monkeypatch.setattr(
        matrix, "run_case", lambda case, _device, _level: matrix.Outcome(case, "fail", "as told to [red]")
    )
    assert main(["test-ops", "-o", "l2_norm", "--backend", "cpu"]) == 1
    out = capsys.readouterr().out
    assert "FAILED" in out and "as told to [red]" in out


def test_test_ops_reports_machine_cases_and_model(tmp_path, monkeypatch):
    monkeypatch.setenv("VKRUN_DEBUG", "0")
    monkeypatch.setattr(ops_report, "N_TOKENS", 4)
    monkeypatch.chdir(tmp_path)
    assert main(["test-ops", "-o", "l2_norm", "--backend", "cpu", "--report"]) == 0
    lines = (tmp_path / "vkrun-report.txt").read_text().splitlines()
    assert lines[0].startswith("vkrun 0.1.0, Python 3.") and "VKRUN_DEBUG=0" in lines
    cases = [line for line in lines if line.startswith("l2_norm ")]
    assert len(cases) > 3 and all(": pass, NMSE " in line and line.endswith(" s") for line in cases)
    said = [line.partition(" s: ")[2] for line in lines if line.startswith("bundled model, 4 tokens on cpu: ")]
    assert f"# in all: {len(cases)} pass" in lines and len(said) == 2 and said[0] == said[1] and len(said[0]) > 4


def test_a_report_of_what_ends_early_names_the_case(tmp_path, monkeypatch):
    from vkrun.runtime.optable import matrix

    def end(case, _device, _level):
        raise KeyboardInterrupt

    monkeypatch.setattr(matrix, "run_case", end)
    assert main(["test-ops", "-o", "l2_norm", "--backend", "cpu", "--report", str(tmp_path / "r")]) != 0
    *_, case, last = [line for line in (tmp_path / "r").read_text().splitlines() if line]
    assert case.startswith("l2_norm ") and last.startswith("ended by KeyboardInterrupt")


def test_a_report_that_cannot_be_written_is_one_line(tmp_path, capsys):
    assert main(["test-ops", "-o", "l2_norm", "--backend", "cpu", "--report", str(tmp_path / "no" / "r")]) == 2
    assert "--report" in capsys.readouterr().err


def test_test_ops_of_a_backend_that_is_not_there(capsys):
    assert main(["test-ops", "--backend", "abacus"]) == 1
    assert capsys.readouterr().err.startswith("vkrun: no backend abacus; there are ")
