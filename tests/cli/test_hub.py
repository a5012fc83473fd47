"""Models of a hub on the command line: -hf everywhere, pull, list and rm, against a hub on this machine."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from vkrun.runtime.cli import hub_models
from vkrun.runtime.cli.main import main
from vkrun.runtime.hub.store import Store
from vkrun.tests.cli.running import MODEL, ON_CPU, Terminal, errors, vkrun
from vkrun.tests.hub_server import Hub
from vkrun.tests.rewriting import Contents, Stored

REPO = "some/Model-GGUF"
DATA = Path(MODEL).read_bytes()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub({REPO: {"m-Q8_0.gguf": DATA, "m-Q2_K.gguf": b"no model", "mmproj-F16.gguf": b""}}) as made:
        yield made


@pytest.fixture
def called(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Calls a command in this process: exit code, stdout, stderr."""

    def store(*args, **kw) -> Store:
        return Store(*args, **kw, endpoint=hub.url, cache=tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    monkeypatch.setattr(hub_models, "Store", store)
    return call


def test_the_command_itself_runs_a_model_of_a_hub(hub: Hub, tmp_path: Path) -> None:
    hub.tokens[REPO] = "secret"
    there = dict(HF_ENDPOINT=hub.url, HF_HUB_CACHE=str(tmp_path), HF_TOKEN="secret", HF_HUB_DISABLE_XET="1")
    first = vkrun("-hf", REPO, *ON_CPU, "--temp", "0", "-n", "3", "def", **there)
    assert first.returncode == 0 and first.stdout.startswith(b"def")
    assert f"vkrun: {REPO}: fetching m-Q8_0.gguf, " in first.stderr.decode()
    hub.asked.clear()
    again = vkrun("-hf", REPO, "--offline", *ON_CPU, "--temp", "0", "-n", "3", "def", **{**there, "HF_TOKEN": ""})
    assert again.stdout == first.stdout and hub.asked == [] and "fetching" not in again.stderr.decode()
    assert again.stdout == vkrun("-m", MODEL, *ON_CPU, "--temp", "0", "-n", "3", "def").stdout
    gone = vkrun("-hf", "some/other", "def", **{**there, "HF_HUB_OFFLINE": "1"})
    assert gone.returncode == 1 and errors(gone) == [f"vkrun: some/other: no model of it in {tmp_path} (offline)"]


def test_every_command_takes_one(called) -> None:
    code, out, err = called("inspect", "-hf", REPO, "--json")
    assert code == 0 and json.loads(out)["path"].endswith("m-Q8_0.gguf") and err.count("\n") == 1
    assert called("graph", "--hf-repo", f"{REPO}:q8_0")[:2] == called("graph", MODEL)[:2]
    code, out, _ = called("bench", "-hfr", REPO, *ON_CPU, "-p", "0", "-n", "1", "-r", "1", "-o", "json", "--no-warmup")
    assert code == 0 and json.loads(out)[0]["model_filename"].endswith("m-Q8_0.gguf")


def test_a_model_in_parts_is_read(called, hub: Hub, tmp_path: Path) -> None:
    tensors = {f"t{i}": Stored.floats(np.full((2, 8), i)) for i in range(5)}
    paths = Contents({"general.architecture": ("llama", "string")}, tensors).write_parts(tmp_path, (2, 3))
    hub.repos[REPO] = {f"Q4_K_M/{path.name}": path.read_bytes() for path in paths}
    code, out, _ = called("inspect", "-hf", REPO, "--json")
    assert code == 0 and len(json.loads(out)["tensors"]) == 5


def test_pull_list_and_rm(called, tmp_path: Path) -> None:
    assert called("list") == (0, "", "vkrun: no models were fetched yet: vkrun pull user/repo\n")
    code, out, err = called("pull", REPO)
    assert code == 0 and Path(out.strip()).read_bytes() == DATA and "fetching m-Q8_0.gguf" in err
    code, out, _ = called("list")
    head, row = out.splitlines()
    assert head.split() == ["model", "size", "fetched", "file"] and row.startswith(f"{REPO}:Q8_0 ")
    _, out, _ = called("list", REPO)
    assert [line.split()[0] for line in out.splitlines()] == ["quantisation", "Q8_0", "Q2_K"]
    assert called("rm", f"{REPO}:Q2_K")[::2] == (1, f"vkrun: {REPO}: no Q2_K there; there is Q8_0 ({_size()})\n")
    assert called("rm", REPO) == (0, f"{REPO}: deleted m-Q8_0.gguf; {_size()} freed\n", "")
    assert called("list")[1] == ""


def test_a_catalogue_is_shown_where_a_name_does_not_decide(called, hub: Hub) -> None:
    hub.repos[REPO]["large-Q8_0.gguf"] = DATA
    code, out, err = called("pull", REPO)
    *rows, last = err.splitlines()
    assert code == 1 and not out and [row.split()[-1] for row in rows] == ["file", "large-Q8_0.gguf", "m-Q8_0.gguf"]
    assert last.startswith(f"vkrun: {REPO}: 2 models fit;")
    assert called("pull", REPO, "-hff", "m-Q8_0.gguf")[0] == 0


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["-hf", "no-name", "x"], "'no-name': expected user/repo"),
        (["-hff", "a.gguf", "x"], "--hf-file: of which repository? -hf user/repo says so"),
        (["-hf", REPO, "-m", "a.gguf", "x"], f"a.gguf and -hf {REPO}: two models"),
        (["inspect", "-hf", REPO, "a.gguf"], f"a.gguf and -hf {REPO}: two models"),
        (["rm"], "Missing argument"),
        (["pull", "a b"], "'a b': expected user/repo"),
    ],
)
def test_misuse_is_a_line(called, words: list[str], error: str) -> None:
    code, out, err = called(*words)
    assert (code, out, err.count("\n")) == (2, "", 1) and error in err


def test_a_terminal_sees_a_bar(hub: Hub, tmp_path: Path) -> None:
    hub.repos[REPO] = {"m-Q8_0.gguf": bytes(40 << 20)}
    hub.seconds = 1.0
    there = dict(HF_ENDPOINT=hub.url, HF_HUB_CACHE=str(tmp_path), HF_HUB_DISABLE_XET="1")
    with Terminal("pull", REPO, **there) as terminal:
        terminal.wait_for(r"fetching [^\n]*/s")
        assert terminal.ends() == 0


def _size() -> str:
    return f"{len(DATA) / 2**20:.1f} MiB" if len(DATA) >= 1000 * 2**10 else f"{len(DATA) / 2**10:.1f} KiB"
