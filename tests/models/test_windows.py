"""Caches of layers with a window are rings: what comes of them is what comes of caches that hold everything."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import vkrun
from vkrun.runtime.engine.parked import Parked
from vkrun.runtime.engine.runner import Runner
from vkrun.runtime.engine.saved import Form
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.engine.sequence import Sequence
from vkrun.runtime.engine.slots import Slots
from vkrun.runtime.errors import SessionError
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.comparing import nmse
from vkrun.tests.exact import load_exact
from vkrun.tests.models.drawn import Golden

FOLDER = Path(__file__).parent / "families"
NAMES = ("gemma2", "gemma3", "gemma4", "gemma4-moe", "gpt-oss", "olmo3", "phi3")  # with windows of 5 to 7 tokens
by_family = pytest.mark.parametrize(
    "name", [n if n in ("gemma4", "gpt-oss") else pytest.param(n, marks=pytest.mark.full) for n in NAMES]
)
N_CTX, N_STEP, N_ROWS, N_IDS, LIMIT = 160, 8, 32, 120, 1e-10


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[int]]]:
    """Each family's file, and ids of a text many times as long as its window."""
    folder, made = tmp_path_factory.mktemp("windows"), {}
    for name in NAMES:
        golden = Golden.load(FOLDER / f"{name}.npz")
        n_vocab = golden.shapes["token_embd.weight"][0]
        ids = np.random.default_rng(3).integers(0, n_vocab, N_IDS).tolist()
        made[name] = golden.write(folder / f"{name}.gguf"), ids
    return made


def load(path: Path, backend: str = "cpu", full: bool = False, level: int = 3, n_seqs: int = 1) -> vkrun.Model:
    model = load_exact(path, backend, None, N_CTX, n_seqs, level, n_ubatch=N_STEP, swa_full=full)
    lengths = {c.shape[1] for c in model.engine.model.caches}
    assert lengths == {N_CTX} if full else N_ROWS in lengths <= {N_ROWS, N_CTX}
    return model


@pytest.mark.parametrize("level", [0, 3])
@by_family
def test_logits_are_those_of_whole_caches_however_a_text_is_cut(name, level, paths):
    path, ids = paths[name]
    with load(path, full=True, level=level) as model:
        wanted = model.logits(ids)
    with load(path, level=level) as model:
        assert nmse(model.logits(ids), wanted) <= LIMIT
        for n in (7, 1) if level else (5,):
            cuts = [model.engine.prompt(0, at, ids[at : at + n], every=True) for at in range(0, N_IDS, n)]
            assert nmse(np.concatenate(cuts), wanted) <= LIMIT


class Room:
    """A scheduler of a model's, and what its sequences give out."""

    def __init__(self, model: vkrun.Model, parks: bool = False) -> None:
        runner = Runner(model.engine)
        parked = Parked(runner, None) if parks else None
        self.slots = Slots.of(model.engine.model, parked)
        self.scheduler = Scheduler(runner, self.slots, Form("m", 1000, N_CTX, *runner.widths))

    def join(self, ids: list[int], n: int) -> Sequence:
        made = Sequence(ids, SamplerSettings(temp=0), n)
        self.scheduler.join(made)
        return made

    def finish(self, *asked: Sequence) -> list[list[int]]:
        while not all(s.ended for s in asked):
            self.scheduler.step()
            for s in asked:
                s.out.clear()
        self.scheduler.rest()
        assert not any(s.error for s in asked)
        return [s.ids for s in asked]


def asked_in_turn(room: Room, ids: list[int]) -> Iterator[tuple[list[list[int]], list[int]]]:
    """What several at once make, one that goes on from the beginning of one that runs, one that goes back a little, and
    one that goes back further; and how much of each prompt was there."""
    yield room.finish(room.join(ids, 30), room.join(ids[::-1][:50], 30), room.join(ids[20:27], 40)), [0, 0, 0]
    first = room.join(ids[:100], 40)
    while len(first.ids) < 110:
        room.scheduler.step()
    second = room.join([*ids[:100], *first.ids[100:104], 1, 2], 20)
    yield room.finish(first, second), [second.timings.n_cached]
    for kept in (118, 90):
        again = room.join([*second.ids[:kept], (second.ids[kept] + 1) % 40, 4, 5], 20)
        yield room.finish(again), [again.timings.n_cached]


@by_family
def test_batches_copies_and_ways_back(name, paths):
    path, ids = paths[name]
    with load(path, full=True, n_seqs=3) as model:
        wanted = [made for made, _ in asked_in_turn(Room(model), ids)]
    with load(path, n_seqs=3) as model:
        made, cached = zip(*asked_in_turn(Room(model), ids), strict=True)
        assert list(made) == wanted
        assert cached[1:] == ([104], [118], [0])


def sessions(room: Room, ids: list[int]) -> Iterator[tuple[list[int], int]]:
    """Two conversations that take turns in one slot, then one of them regenerated, and what begins as its first half:
    what each makes, and how much of each prompt was there."""
    chats = [ids[:70], ids[::-1][:81]]
    for turn in range(6):
        chat = chats[turn % 2]
        s = room.join(chat, 6)
        (chats[turn % 2],) = room.finish(s)
        yield s.ids, s.timings.n_cached
    for prompt in ([*chats[0][:-6], 3], [*chats[0][:64], 4], [*ids[:30], 5]):
        s = room.join(prompt, 6)
        room.finish(s)
        yield s.ids, s.timings.n_cached


@by_family
def test_conversations_are_parked_and_come_back(name, paths):
    path, ids = paths[name]
    with load(path, full=True) as model:
        alone = Room(model)
        for c in alone.slots.caches:
            c.holds = lambda n: n == 0  # type: ignore[method-assign]  # nothing is gone on from
        wanted, none = zip(*sessions(alone, ids), strict=True)
        assert set(none) == {0}
    with load(path) as model:
        made, cached = zip(*sessions(Room(model, parks=True), ids), strict=True)
        assert made == wanted
        assert cached[:6] == (0, 0, 75, 86, 81, 92)  # the last token of an answer is yet to be read
        assert cached[6] >= 80 and cached[8] == 0  # what rings had lost by then is read again


@by_family
def test_a_session_goes_on_from_a_file(name, paths, tmp_path):
    path, ids = paths[name]
    with load(path) as model:
        room = Room(model)
        (first,) = room.finish(room.join(ids[:100], 6))
        (wanted,) = room.finish(room.join([*first, 7], 9))
        room = Room(model)
        room.finish(room.join(ids[:100], 6))
        assert room.scheduler.save_slot(None, tmp_path / "s") == 105
    with load(path) as model:
        room = Room(model)
        assert room.scheduler.restore_slot(None, tmp_path / "s") == 105
        s = room.join([*first, 7], 9)
        assert room.finish(s) == [wanted] and s.timings.n_cached == 105
    with load(path, full=True) as model, pytest.raises(SessionError, match="caches and states of other sizes"):
        Room(model).scheduler.restore_slot(None, tmp_path / "s")


@pytest.mark.full
@pytest.mark.parametrize("name", ["gemma3", "gpt-oss"])
def test_on_devices(name, backend, paths):
    path, ids = paths[name]
    with load(path, full=True) as model:
        room, wanted = Room(model), model.logits(ids)
        text = room.finish(room.join(ids[:40], 80))
    with load(path, backend) as model:
        room = Room(model)
        assert nmse(model.logits(ids), wanted) <= 1e-9
        assert room.finish(room.join(ids[:40], 80)) == text
