"""Nothing that is kept of earlier prompts changes an answer: on the device, parked in the host's memory, in files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import vkrun
from hypothesis import given, settings
from hypothesis import strategies as st
from vkrun.backends.base import DeviceInfo
from vkrun.backends.cpu import CpuDevice
from vkrun.runtime.engine.engine import Engine
from vkrun.runtime.engine.parked import Parked
from vkrun.runtime.engine.runner import Runner
from vkrun.runtime.engine.saved import Form
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.engine.sequence import Sequence
from vkrun.runtime.engine.slots import Slots
from vkrun.runtime.errors import SessionError, UsageError
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.models import Capacity, open_model
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.model_files import write_model
from vkrun.tests.models.drawn import Golden
from vkrun.tests.null_backend import NullDevice
from vkrun.tests.sessions import session

HERE = Path(__file__).parent
MODEL = HERE / "golden" / "q8_0.gguf"
N_CTX, N_CACHES, N_STATES = 512, 2, 6
GREEDY = SamplerSettings(temp=0)


class Room:
    """Schedulers on one engine, of which one is used at a time, and another engine for the answers of those alone."""

    def __init__(self, engine: Engine, other: Engine | None = None) -> None:
        self.engine = engine
        self.n_vocab = engine.model.params.n_vocab
        self.runner = Runner(engine)
        self._others = Room(other) if other else self

    def scheduler(self, limit: int | None, n_caches: int = N_CACHES) -> Scheduler:
        n_states = N_STATES if self.engine.model.states else 0
        parked = Parked(self.runner, limit) if limit != 0 else None
        form = Form("m", self.n_vocab, N_CTX, *self.runner.widths)
        return Scheduler(self.runner, Slots(n_caches, n_states, parked), form)

    def asked(
        self, scheduler: Scheduler, *prompts: list[int], n: int = 4, cache: bool = True, marks: tuple[int, ...] = ()
    ) -> list[Sequence]:
        made = [Sequence(p, GREEDY, n, marks=marks, cache_prompt=cache) for p in prompts]
        for s in made:
            scheduler.join(s)
        for _ in range(2000):
            if all(s.ended for s in made):
                break
            scheduler.step()
        scheduler.rest()
        assert not any(s.error for s in made) and all(s.ended for s in made)
        return made

    def alone(self, prompt: list[int], n: int = 4) -> list[int]:
        """The answer of one who found nothing to go on from."""
        others = self._others
        (s,) = others.asked(others.scheduler(0), prompt, n=n, cache=False)
        assert not s.timings.n_cached
        return list(s.out)


def engine_of(name: str, folder: Path, device: CpuDevice | NullDevice) -> Engine:
    path = folder / "m.gguf"
    if name == "qwen3next":
        write_model(path)
    else:
        Golden.load(HERE / "families" / f"{name}.npz").write(path)
    with GGUFFile.open(path) as f:
        return Engine(open_model(f, Capacity(N_CTX, N_CACHES, N_STATES)), device)


@pytest.fixture(scope="module")
def room_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Room]]:
    rooms: dict[tuple[str, str], Room] = {}

    def made(name: str, device: str) -> Room:
        if (name, device) not in rooms:
            folder = tmp_path_factory.mktemp(name)
            engines = [engine_of(name, folder, opened(device)) for _ in range(2)]
            rooms[name, device] = Room(*engines)
        return rooms[name, device]

    yield made


def opened(device: str) -> CpuDevice | NullDevice:
    return CpuDevice(DeviceInfo("cpu", 0, "numpy")) if device == "cpu" else NullDevice()


def ids(seed: int, n: int) -> list[int]:
    return [(seed * 31 + i * i * 7 + i) % 59 for i in range(n)]


parts = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, 7, 40, 64, 90])), min_size=1, max_size=3)
asks = st.tuples(st.lists(parts, min_size=1, max_size=3), st.integers(0, 4), st.booleans())


RANDOM = [("qwen3next", "null"), ("qwen3next", "cpu"), ("qwen3", "cpu"), ("lfm2", "cpu")]


@pytest.mark.full("qwen3", "lfm2")  # with keys alone, and with states alone that few tokens go into
@pytest.mark.parametrize("name, device", RANDOM)
@settings(max_examples=12, deadline=None)
@given(said=st.lists(asks, min_size=2, max_size=7), n_caches=st.integers(1, 2), budget=st.sampled_from([0, 1, 3, None]))
def test_random_trees_of_prompts(
    room_of: Callable[[str, str], Room], name: str, device: str, said: list, n_caches: int, budget: int | None
) -> None:
    """budget: about how many prompts there is room for in the host's memory."""
    room = room_of(name, device)
    each = 150 * (room.runner.row_nbytes + 16) + 2 * room.runner.state_nbytes
    scheduler = room.scheduler(None if budget is None else budget * each, n_caches)
    seen: list[list[int]] = []
    for trees, n, edits in said:
        prompts = [[t for seed, k in tree for t in ids(seed, k)] for tree in trees]
        if edits and seen:
            prompts[0] = [*seen[-1][: len(seen[-1]) * 2 // 3], 1, 2]
        for s in room.asked(scheduler, *prompts, n=n):
            prompt = s.ids[: s.timings.n_prompt]
            assert device == "null" or list(s.out) == room.alone(prompt, n)
            seen.append(prompt)


@pytest.mark.parametrize("name, most, n_caches", [("qwen3", 0, 1), ("qwen3next", 63, 1), ("lfm2", 63, 2)])
def test_forty_turns_reread_at_most_a_span(
    room_of: Callable[[str, str], Room], name: str, most: int, n_caches: int
) -> None:
    room = room_of(name, "cpu")
    scheduler, n_checked = room.scheduler(None, n_caches), 0

    def ask(prompt: list[int], marks: list[int]) -> tuple[list[int], int]:
        nonlocal n_checked
        (s,) = room.asked(scheduler, prompt, n=6, marks=tuple(marks))
        n_checked += 1
        assert n_checked % 10 or list(s.out) == room.alone(prompt, 6)
        return list(s.out), s.timings.n_cached

    turns = list(session(ask, 40, min(60, room.n_vocab), N_CTX, longest=40))
    assert {t.what for t in turns} == {"goes on", "regenerates", "edits", "returns"}
    assert sum(t.n_seen > 100 for t in turns) > 20 and n_checked == 40
    assert max(t.n_reread for t in turns) <= most


@pytest.mark.parametrize("name", ["qwen3next", "qwen3"])
def test_a_fork_leaves_what_it_forks_from_as_it_was(room_of: Callable[[str, str], Room], name: str) -> None:
    room = room_of(name, "cpu")
    scheduler, whole = room.scheduler(0), ids(1, 200)
    first, fork = whole, [*whole[:128], *ids(2, 30)]
    live = Sequence(first, GREEDY, 20, marks=(128,))
    scheduler.join(live)
    while not live.n_chosen > 3:
        scheduler.step()
    (s,) = room.asked(scheduler, fork)  # beside it
    assert s.timings.n_cached == 128 and list(s.out) == room.alone(fork)
    while not live.ended:
        scheduler.step()
    assert list(live.out) == room.alone(first, 20)
    (again,) = room.asked(scheduler, [*first, *live.out, 3])
    assert again.timings.n_cached >= 200 and list(again.out) == room.alone([*first, *live.out, 3])


@pytest.mark.parametrize("name", ["qwen3next", "qwen3"])
def test_those_who_begin_alike_read_it_once(room_of: Callable[[str, str], Room], name: str) -> None:
    room = room_of(name, "cpu")
    scheduler, shared = room.scheduler(0), ids(3, 300)
    one, two = room.asked(scheduler, shared, shared)
    assert list(one.out) == list(two.out) == room.alone(shared)
    assert one.timings.n_cached == 0 and two.timings.n_cached >= 300 - 64
    three, four = room.asked(scheduler, [*ids(4, 200), *ids(5, 50)], [*ids(4, 200), *ids(6, 60)])
    assert four.timings.n_cached >= 192
    assert [list(s.out) for s in (three, four)] == [room.alone(s.ids[: s.timings.n_prompt]) for s in (three, four)]


@pytest.mark.parametrize("name", ["qwen3next", "qwen3", "lfm2"])
def test_a_session_goes_on_in_another_process(room_of: Callable[[str, str], Room], tmp_path: Path, name: str) -> None:
    room, path, prompt = room_of(name, "cpu"), tmp_path / "s", ids(7, 150)
    scheduler = room.scheduler(0)
    with pytest.raises(UsageError, match="holds no tokens"):
        scheduler.save_slot(0, path)
    (s,) = room.asked(scheduler, prompt, n=5)
    slot = next(c.index for c in scheduler.slots.caches if c.ids)
    assert scheduler.save_slot(slot, path) == 154
    other = room.scheduler(0)
    room.runner.clear_keys(1)
    assert other.restore_slot(1, path) == 154 and other.slots_info()[1]["n_held"] == 154
    turn = [*prompt, *s.out, 5, 6]
    (again,) = room.asked(other, turn)
    assert again.timings.n_cached == 154 and list(again.out) == room.alone(turn)
    assert other.erase_slot(1) > 154 and not other.slots_info()[1]["n_held"]
    path.write_bytes(path.read_bytes()[:-40])
    for index in (0, None):
        with pytest.raises(SessionError):
            other.restore_slot(index, path)
    with pytest.raises(UsageError, match="slot 2: expected 0 to 1"):
        other.restore_slot(2, path)
    held = sorted([*other.slots._free, *(c.state for cache in other.slots.caches for c in cache.checkpoints)])
    assert held == list(range(max(0, other.slots.origin)))
    assert list(room.asked(other, prompt, n=5)[0].out) == list(s.out)


def test_a_running_slot_is_saved_and_none_is_restored_over_it(
    room_of: Callable[[str, str], Room], tmp_path: Path
) -> None:
    room, path = room_of("qwen3next", "cpu"), tmp_path / "s"
    scheduler = room.scheduler(0, 1)
    live = Sequence(ids(8, 70), GREEDY, 20)
    scheduler.join(live)
    while live.n_chosen < 8:
        scheduler.step()
    n = scheduler.save_slot(0, path)
    assert 70 + 7 <= n <= 70 + 10 and scheduler.slots_info()[0]["is_processing"]
    for refused in (lambda: scheduler.restore_slot(0, path), lambda: scheduler.erase_slot(0)):
        with pytest.raises(UsageError, match="slot 0: a sequence runs in it"):
            refused()
    while not live.ended:
        scheduler.step()
    scheduler.rest()
    other = room.scheduler(0, 1)
    assert other.restore_slot(None, path) == n
    (s,) = room.asked(other, live.ids[: n + 1], n=3)
    assert s.timings.n_cached == n and list(s.out) == live.ids[n + 1 : n + 4]


@pytest.mark.parametrize("backend", ["cpu", "vulkan"])
def test_two_chats_take_turns_in_one_slot(backend: str, tmp_path: Path) -> None:
    with vkrun.load(MODEL, backend=backend, n_ctx=256, n_seqs=1, cache_ram=64) as model:
        chats, made = [ids(1, 60), ids(2, 70)], []
        for turn in range(2):
            for i, chat in enumerate(chats):
                answer = model.generate(chat, max_tokens=5, temperature=0, ignore_eos=True)
                list(answer)
                assert answer.timings.n_cached >= (len(chat) - 12 if turn else 0)
                made.append((chat, answer.ids))
                chats[i] = [*chat, *answer.ids, *ids(9, 10)]
        assert model.save_session(tmp_path / "s") == len(made[-1][0]) + 4
    with vkrun.load(MODEL, backend=backend, n_ctx=256, n_seqs=1, cache_ram=0) as fresh:
        assert fresh.load_session(tmp_path / "s") == len(made[-1][0]) + 4
        chat, wanted = made[-1]
        answer = fresh.generate([*chat, *wanted], max_tokens=3, temperature=0, ignore_eos=True)
        list(answer)
        assert answer.timings.n_cached == len(chat) + 4
        for chat, wanted in made[-2:]:
            again = fresh.generate(chat, max_tokens=5, temperature=0, ignore_eos=True)
            list(again)
            assert again.ids == wanted


def test_sessions_know_their_model(tmp_path: Path) -> None:
    a, b = (write_model(tmp_path / f"{name}.gguf") for name in "ab")
    with GGUFFile.open(b) as f:
        info = max(f.tensors.values(), key=lambda t: t.offset)
        size = f.size
    whole = bytearray(Path(b).read_bytes())
    assert len(whole) == size
    whole[info.offset] ^= 1  # one number of one tensor
    Path(b).write_bytes(whole)
    with vkrun.load(a, backend="cpu", n_ctx=64) as model:
        scheduler = model._service._scheduler
        Room(model.engine).asked(scheduler, [1, 2, 3], n=1)
        assert model.save_session(tmp_path / "s") == 3 and model.load_session(tmp_path / "s") == 3
    with vkrun.load(b, backend="cpu", n_ctx=64) as model, pytest.raises(SessionError, match="saved with another model"):
        model.load_session(tmp_path / "s")
