"""Tuning: what is kept for a device and when it is not used, and which threshold wins by a scripted clock."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from vkrun.backends.cpu import BACKEND, CpuDevice
from vkrun.backends.tuned import TunedDevice
from vkrun.runtime import tuning
from vkrun.runtime.bench import tune as bench
from vkrun.runtime.engine.engine import Engine, Ready
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.ir.graph import Node
from vkrun.runtime.model import BUNDLED, load, tuning_key
from vkrun.runtime.models import Capacity, open_model
from vkrun.runtime.tuning import CHOICES, Choice, Tuning
from vkrun.shaders.catalogue import refusal
from vkrun.shaders.kernel import Features
from vkrun.shaders.matmul import matrices
from vkrun.tests.cli.running import MODEL

KEY = {"backend": "cuda", "device": "a card", "driver": "1.2", "version": "0.1.0"}
FEW, SOME, EXPERTS, LISTS, DELTA = CHOICES
GPU = Features(
    subgroup_size=32,
    float16=True,
    shared_nbytes=49152,
    max_workgroup=1024,
    delta_chunks=True,
    cooperative_matrix=((16, 16, 16),),
)
OTHER = Tuning(few_cols=16, expert_tokens=8)


class Card(TunedDevice, CpuDevice):
    """Plans for a GPU's kernels, and computes with numpy."""

    features = GPU

    def supports(self, node: Node) -> str:
        return refusal(node, self.features)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VKRUN_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("VKRUN_NO_TUNING", raising=False)
    return tmp_path / "tuning"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(matrices, "FEWEST_PRODUCTS", 0)  # small as the model is
    with GGUFFile.open(BUNDLED) as f:
        made = Engine(open_model(f, Capacity(bench.N_CTX, 1)), Card(BACKEND.devices()[0]))
        yield made
        made.close()
        made.device.close()


def test_what_was_measured_is_the_default() -> None:
    assert asdict(Tuning()) == dict(few_cols=5, some_cols=8, expert_tokens=16, list_tokens=33, delta_tokens=64)
    assert [c.name for c in CHOICES] == list(asdict(Tuning())) and Features().tuning == Tuning()
    assert "tuning" not in GPU.offered() and Features(**GPU.offered()) == GPU  # type: ignore[arg-type]


def test_what_is_kept_is_found_again() -> None:
    assert tuning.load(KEY) == (Tuning(), "")
    path = tuning.save(KEY, OTHER)
    found, said = tuning.load(KEY)
    assert found == OTHER and "few_cols 16 instead of 5, expert_tokens 8 instead of 16" in said and str(path) in said
    assert tuning.load(KEY | {"driver": "1.3"}) == (Tuning(), "")


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    tuning.save(KEY, OTHER)
    monkeypatch.setenv("VKRUN_NO_TUNING", "1")
    assert tuning.load(KEY) == (Tuning(), "") and tuning.save(KEY, OTHER) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        ("[" * 9000, "no JSON"),
        ("\udcff", "no JSON"),
        ("[]", "of another device, driver or version"),
        (json.dumps({"key": KEY | {"version": "0"}, "tuning": asdict(OTHER)}), "of another device"),
        (json.dumps({"key": KEY, "tuning": {"few_cols": 3}}), "expected delta_tokens, expert_tokens"),
        (json.dumps({"key": KEY, "tuning": asdict(OTHER) | {"few_cols": 0}}), "few_cols 0, expected 1 to 4096"),
        (json.dumps({"key": KEY, "tuning": asdict(OTHER) | {"few_cols": True}}), "few_cols True, expected"),
        (" " * (1 << 17), "too large"),
    ],
)
def test_a_file_that_is_broken_or_foreign_is_not_used(text: str, why: str) -> None:
    path = tuning.save(KEY, OTHER)
    assert path is not None
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    found, said = tuning.load(KEY)
    assert found == Tuning() and said.startswith("tuning: ") and why in said and said.endswith("not used")


def test_a_load_says_what_it_uses() -> None:
    with load(MODEL, "cpu") as model:
        assert model.info.tuning == ""
        tuning.save(tuning_key(model.engine.device.info), OTHER)
    with load(MODEL, "cpu") as model:
        assert model.info.tuning.startswith("tuning: few_cols 16 instead of 5")


@pytest.mark.parametrize(
    ("choice", "above", "wanted"),  # how many times as long a step of so many tokens takes above the threshold
    [
        (FEW, {}, None),
        (FEW, {2: 1.2, 4: 1.1, 8: 0.8, 16: 0.7, 32: 0.5}, (5, 1.0)),
        (FEW, {2: 1.2, 4: 1.1, 8: 1.3, 16: 1.1, 32: 0.5}, (32, 1.2)),
        (FEW, {2: 1.2, 4: 1.1, 8: 1.3, 16: 1.1, 32: 1.2}, (33, 1.2)),
        (FEW, {2: 0.5, 4: 0.5, 8: 0.5, 16: 0.5, 32: 0.5}, (2, 2.0)),
        (FEW, {2: 1.2, 4: 0.98, 8: 0.9, 16: 0.9, 32: 0.9}, (5, 1.0)),  # by less than three in a hundred
        (DELTA, {64: 2.0, 128: 0.5, 256: 0.5}, (128, 2.0)),
        (EXPERTS, {4: 0.9, 8: 0.9, 16: 0.9}, (4, 1.11)),
    ],
)
def test_the_threshold_that_costs_least_wins(choice: Choice, above: dict[int, float], wanted) -> None:
    trials = bench.Trials()
    for n, times in above.items():
        trials.add(choice, n, float(bench.log(times)))
    assert trials.found(choice) == (wanted and (wanted[0], pytest.approx(wanted[1], abs=0.02)))


@pytest.mark.full
def test_both_sides_of_each_choice_run_and_a_slow_one_goes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[int, Tuning] = {}
    compiled = Engine.compile

    def noted(self, shape):
        ready = compiled(self, shape)
        made[id(ready)] = self.device.features.tuning
        return ready

    def clock(ready: Ready) -> float:
        """Experts by lists take twice as long as by rows, below 16 tokens."""
        n, way = ready.inputs.shape.n_rows, made[id(ready)]
        return 2.0 if way.expert_tokens <= n < 16 else 1.0

    monkeypatch.setattr(Engine, "compile", noted)
    trials, seen = bench.Trials(), []
    bench.Tuner(engine, trials, lambda *done: seen.append(done), clock).run()
    assert {name for name, _ in trials.logs} >= {"few_cols", "expert_tokens"} and trials.notes == {}
    assert ("list_tokens", 8) not in trials.logs  # a device with matrices has no such choice
    assert {c: trials.found(c) for c in (FEW, EXPERTS)} == {FEW: (5, 1.0), EXPERTS: (16, 1.0)}
    assert trials.logs["expert_tokens", 8] == [pytest.approx(bench.log(2))]
    assert seen[-1] == ("tuning", 8, 8) and engine.device.features == GPU  # type: ignore[attr-defined]


def test_a_way_with_other_results_never_wins(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CHOICES", (replace(FEW, sizes=(2, 8)),))
    monkeypatch.setattr(bench, "_nmse", lambda got, wanted: 0.5)
    trials = bench.Trials()
    bench.Tuner(engine, trials, lambda *_: None, lambda ready: 1.0).run()
    assert trials.notes == {"few_cols": "other results at 8: NMSE 5.0e-01"}
    assert trials.found(FEW) == (5, 1.0)


def test_replays_are_timed_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5.0]
    program = SimpleNamespace(run=lambda: now.__setitem__(0, now[0] + 0.015))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: now[0])
    assert bench.replay_seconds(SimpleNamespace(program=program)) == pytest.approx(0.015)  # type: ignore[arg-type]
    assert now[0] == pytest.approx(5.045)  # as many as take 40 ms


def test_the_table_and_where_it_is_kept(folder: Path) -> None:
    said: list[str] = []
    bench.tune([MODEL], "cpu", None, said.append, lambda *_: None)
    assert said[0].startswith("| choice ") and len(said) == len(CHOICES) + 4
    assert all("nothing to choose here" in row for row in said[2:-2])
    (path,) = folder.iterdir()
    assert said[-1] == f"as by default; kept in {path}"
