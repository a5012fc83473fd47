"""What a decode token of the 80B model asks of Metal, counted from its header: calls, barriers, command buffers."""

from pathlib import Path

import gguf
import pytest
from vkrun.backends.metal import api
from vkrun.backends.metal.physical import physicals
from vkrun.runtime.counts import plan_step
from vkrun.tests.metal_stand_in.framework import StandIn as Mac
from vkrun.tests.metal_stand_in.planned import Planned
from vkrun.tests.model_files import write_header

TOKEN = 318  # dispatches, as tests/unit/test_counts.py has it


def refuse(source: str):
    raise AssertionError(f"compiled: {source[:80]}")


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Mac:
    made = Mac(refuse)
    monkeypatch.setattr(api, "framework", lambda: made)
    monkeypatch.setattr(api, "bridge", lambda: made.objc)
    monkeypatch.setattr(api, "system", lambda: made.system)
    return made


@pytest.fixture
def planned(mac: Mac, tmp_path: Path) -> Planned:
    return planned_token(mac, tmp_path)


def planned_token(mac: Mac, tmp_path: Path) -> Planned:
    path = write_header(tmp_path / "80b.gguf", quant=gguf.GGMLQuantizationType.Q4_0)
    features = physicals()[0].features
    return Planned(mac, plan_step(path, 3, features=features), features)


def test_calls_of_a_token(planned: Planned) -> None:
    """Four a dispatch at most: pipeline, all its buffers at once, barrier, dispatch. docs/metal.md has them."""
    calls, n = planned.calls, planned.n_dispatches
    assert n <= TOKEN and calls.total() <= 4 * n + 20
    assert calls["dispatchThreadgroups_threadsPerThreadgroup_"] == calls["setBuffers_offsets_withRange_"] == n
    assert calls["setComputePipelineState_"] <= n and calls["memoryBarrierWithScope_"] < n
    assert calls["commit"] == calls["computeCommandEncoderWithDispatchType_"] == 2  # the first part goes ahead
    assert calls["autorelease_pool"] == 1


def test_what_metal_keeps_takes_few_calls(mac: Mac, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VKRUN_METAL_REPLAY", "1")
    made = planned_token(mac, tmp_path)
    assert sum(made.calls.values()) <= 12


def test_a_token_makes_nothing_and_passes_no_bytes(planned: Planned) -> None:
    """Arguments stand in memory of the program's own from when it was made."""
    made = {name for name in planned.calls if name.startswith(("new", "setBytes", "contents"))}
    assert made == set() and planned.arguments_nbytes <= 128 * planned.n_dispatches
