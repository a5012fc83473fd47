"""The scheduler on a device that holds tokens in the place of states."""

from collections.abc import Sequence as Ids

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vkrun.runtime.engine.parked import NO_RINGS, Parked, Rings
from vkrun.runtime.engine.scheduler import Scheduler
from vkrun.runtime.engine.sequence import N_AHEAD, Sequence
from vkrun.runtime.engine.sizes import SOFTWARE
from vkrun.runtime.engine.slots import Slots
from vkrun.runtime.text.sampler import SamplerSettings
from vkrun.tests.pretend_device import PretendRunner, alone
from vkrun.tests.sessions import session

GREEDY = SamplerSettings(temp=0)
ON_HOST = SamplerSettings(temp=0, repeat_penalty=1.1)  # which the device cannot draw by


class Room:
    """A scheduler, and what its sequences have given out."""

    def __init__(
        self,
        n_caches: int = 2,
        n_states: int = 8,
        n_ctx: int = 4096,
        limit: int | None = 0,
        rings: Rings = NO_RINGS,
        n_step: int = 512,
    ) -> None:
        """limit: bytes of the host for what is parked."""
        self.runner = PretendRunner(n_caches, n_states, n_ctx, SOFTWARE.up_to(n_step), rings)
        parked = Parked(self.runner, limit) if limit != 0 else None
        self.slots = Slots(n_caches, n_states, parked, rings)
        self.scheduler = Scheduler(self.runner, self.slots)  # type: ignore[arg-type]
        self.got: dict[Sequence, list[int]] = {}

    def join(
        self, prompt: Ids[int], n: int, chosen: SamplerSettings = GREEDY, marks: Ids[int] = (), cache: bool = True
    ) -> Sequence:
        s = Sequence(prompt, chosen, n, marks=marks, cache_prompt=cache)
        self.got[s] = []
        self.scheduler.join(s)
        return s

    def read(self, s: Sequence) -> None:
        while s.out:
            self.got[s].append(s.out.popleft())

    def finish(self) -> None:
        """Step until every sequence has ended; each is read as it goes."""
        for _ in range(10_000):
            for s in self.got:
                self.read(s)
            if all(s.ended for s in self.got):
                self.scheduler.rest()
                return
            self.scheduler.step()
        raise AssertionError("a sequence does not end")

    def ask(self, prompt: Ids[int], n: int, marks: Ids[int] = ()) -> Sequence:
        s = self.join(prompt, n, marks=marks)
        self.finish()
        assert self.got[s] == alone(prompt, n) and not s.error
        return s


def ids(seed: int, n: int) -> list[int]:
    return [(seed * 37 + i * i) % 41 for i in range(n)]


@pytest.mark.parametrize("n_states", [0, 4, 12])
def test_a_sequence_alone(n_states: int) -> None:
    room = Room(2, n_states)
    assert room.ask(ids(1, 700), 300).timings.n_cached == 0
    assert room.ask(ids(2, 1), 1).ended == "length"


def test_nothing_to_choose_reads_the_prompt_alone() -> None:
    room = Room()
    assert room.ask(ids(1, 70), 0).ended == "length"
    assert room.runner.n_tokens == 70


@pytest.mark.parametrize("n_states", [0, 30])
def test_eight_at_once_share_steps(n_states: int) -> None:
    room = Room(8, n_states)
    for i in range(8):
        room.join(ids(i, 30 + i), 20)
    room.finish()
    for i, s in enumerate(room.got):
        assert room.got[s] == alone(ids(i, 30 + i), 20)
    assert room.runner.n_steps <= 24  # four or five for the prompts, one a token


def test_a_prompt_is_read_beside_those_that_decode() -> None:
    room = Room(2, 8)
    first = room.join(ids(1, 5), 30)
    room.scheduler.step()
    second = room.join(ids(2, 2000), 3)
    steps = room.runner.n_steps
    room.finish()
    assert room.got[first] == alone(ids(1, 5), 30) and room.got[second] == alone(ids(2, 2000), 3)
    assert room.runner.n_steps - steps <= 34


def test_more_than_there_are_seats_for_take_turns() -> None:
    room = Room(2, 6)
    made = [room.join(ids(i, 10), 5 + i) for i in range(7)]
    room.finish()
    assert all(room.got[s] == alone(ids(i, 10), 5 + i) for i, s in enumerate(made))


def test_who_is_not_read_makes_way_and_goes_on_later() -> None:
    room = Room(1, 4)
    first, second = room.join(ids(1, 100), 3 * N_AHEAD), room.join(ids(2, 100), 10)
    for _ in range(200):
        room.scheduler.step()
        room.read(second)
    assert second.ended and N_AHEAD <= len(first.out) <= N_AHEAD + 1 and not first.ended
    room.finish()
    assert room.got[first] == alone(ids(1, 100), 3 * N_AHEAD)


def test_asking_again() -> None:
    room, prompt = Room(), ids(1, 1300)
    room.ask(prompt, 5)
    assert room.ask(prompt, 5).timings.n_cached >= 1300 - 64


def test_the_next_turn_goes_on_where_the_answer_ended() -> None:
    room, prompt = Room(), ids(1, 900)
    s = room.ask(prompt, 40)
    assert room.ask([*s.ids, 7, 8, 9], 5).timings.n_cached == 900 + 39


def test_a_turn_after_an_answer_that_was_cut() -> None:
    room, prompt = Room(), ids(1, 900)
    s = room.join(prompt, 600)
    while len(room.got[s]) < 400:
        room.scheduler.step()
        room.read(s)
    s.end("stop")
    room.scheduler.rest()
    again = [*prompt, *room.got[s][:390], 1, 2, 3]
    assert room.ask(again, 5).timings.n_cached >= 900 + 390 - 256


def test_a_long_answer_leaves_the_ends_of_messages_alone() -> None:
    room, shared = Room(1, 6), ids(1, 500)
    s = room.ask([*shared, *ids(2, 200)], 1500, marks=[500])
    assert room.ask([*shared, *ids(3, 200)], 3, marks=[500]).timings.n_cached == 448
    again = Room(1, 6)
    again.ask([*shared, *ids(2, 200)], 1500, marks=[500])
    assert again.ask([*s.ids[:2000], 1, 2], 3).timings.n_cached >= 2000 - 256


@pytest.mark.parametrize("marked", [True, False])
def test_the_last_message_of_five_edited(marked: bool) -> None:
    room, shared = Room(2, 24), ids(1, 1500)
    room.ask([*shared, *ids(2, 1200)], 5, marks=[700, 1500] if marked else [])
    n = room.ask([*shared, *ids(3, 300)], 5).timings.n_cached
    assert 1500 - n < (64 if marked else 512)
    assert 1500 - room.ask([*shared, *ids(4, 300)], 5).timings.n_cached < 64  # where prompts parted once


def test_two_chats_take_turns() -> None:
    room, system = Room(2, 10), ids(0, 100)
    chats = [[*system, *ids(1, 300)], [*system, *ids(2, 300)]]
    for turn in range(4):
        for i, chat in enumerate(chats):
            s = room.ask(chat, 20, marks=[100])
            assert s.timings.n_cached >= (len(chat) - 30 if turn else 64 * i)
            chats[i] = [*s.ids, *ids(turn + 5, 10)]


@pytest.mark.parametrize("n_states, limit, most, total", [(0, None, 63, 26), (10, None, 63, 263), (10, 0, 512, 2264)])
def test_forty_turns_of_an_agent(n_states: int, limit: int | None, most: int, total: int) -> None:
    """Tokens reread a turn, and in all."""
    room = Room(1, n_states, limit=limit)

    def ask(prompt: list[int], marks: list[int]) -> tuple[list[int], int]:
        s = room.ask(prompt, 12, marks)
        return room.got[s], s.timings.n_cached

    turns = list(session(ask, 40, 4096, 4096, longest=100))
    assert max(t.n_reread for t in turns) <= most and sum(t.n_reread for t in turns) <= total
    assert sum(t.n_seen for t in turns) == 15001


def test_a_checkpoint_that_makes_way_before_it_is_filled_is_not_parked() -> None:
    room, prompts = Room(2, 4, limit=None), [ids(1, 200), ids(2, 200)]  # room for one checkpoint
    for prompt in prompts:
        room.join(prompt, 3, marks=[64])
    room.finish()
    for s, prompt in zip(list(room.got), prompts, strict=True):
        assert room.got[s] == alone(prompt, 3)
        room.ask([*prompt[:150], 40, 40], 3)


def test_a_family_without_states_cuts_anywhere() -> None:
    room, prompt = Room(2, 0), ids(1, 900)
    room.ask(prompt, 5)
    assert room.ask(prompt, 5).timings.n_cached == 899
    assert room.ask([*prompt[:555], 40, 40], 5).timings.n_cached == 555


def test_a_ring_goes_back_as_far_as_it_holds() -> None:
    room, prompt = Room(2, 0, rings=Rings(96, 30), n_step=64), ids(1, 900)
    room.ask(prompt, 5)  # 904 tokens were read, 96 are held from 808 on, and 30 of those come first
    assert room.ask([*prompt[:840], 40, 40], 5).timings.n_cached == 840
    assert room.ask([*prompt[:837], 41, 41], 5).timings.n_cached == 837
    assert room.ask([*prompt[:836], 42, 42], 5).timings.n_cached == 0
    assert room.ask([*prompt[:50], 43, 43], 5).timings.n_cached == 0
    assert room.ask([*prompt[:30], 44, 44], 5).timings.n_cached == 30  # nothing is lost yet


@pytest.mark.parametrize("n_states", [0, 12])
def test_a_running_sequence_is_copied_with_its_ring(n_states: int) -> None:
    room, prompt = Room(3, n_states, rings=Rings(96, 30), n_step=64), ids(1, 300)
    first = room.join(prompt, 200, marks=[280])
    while len(room.got[first]) < 20:
        room.scheduler.step()
        room.read(first)
    again = room.ask([*prompt, *room.got[first][:5], 7], 60)
    assert again.timings.n_cached >= (256 if n_states else 305) and room.got[first] == alone(prompt, 200)


def test_a_step_that_fails_ends_who_took_part_and_nothing_of_it_is_reused() -> None:
    room, prompt = Room(), ids(1, 200)
    s = room.join(prompt, 100)
    for _ in range(5):
        room.scheduler.step()
    whole, room.runner.run = room.runner.run, lambda _chunks: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    for _ in range(3):
        room.scheduler.step()
    assert isinstance(s.error, ZeroDivisionError) and s.ended == "error"
    room.runner.run = whole  # type: ignore[method-assign]
    assert room.ask(prompt, 5).timings.n_cached == 0


prompts = st.tuples(st.integers(0, 2), st.integers(1, 700), st.integers(0, 2), st.integers(0, 90)).map(
    lambda p: [*ids(p[0], p[1]), *ids(p[2] + 7, p[3])]
)
flags = st.tuples(st.booleans(), st.sampled_from([True, True, True, False]))  # is there a mark, may others be used
moves = st.one_of(
    st.tuples(st.just("join"), prompts, st.integers(0, 80), st.sampled_from([GREEDY, ON_HOST]), flags),
    st.tuples(st.just("step"), st.integers(1, 40)),
    st.tuples(st.just("read"), st.integers(0, 20)),
    st.tuples(st.just("stop"), st.integers(0, 20)),
)


budgets = st.one_of(st.sampled_from([0, None]), st.integers(1, 20_000))
RINGS = (NO_RINGS, 512), (Rings(72, 8), 64), (Rings(96, 32), 64), (Rings(40, 33), 8)  # and tokens of the longest step
rooms = st.sampled_from([RINGS[0], *RINGS])


@settings(max_examples=200, deadline=None)
@given(st.lists(moves, max_size=25), st.integers(1, 4), st.integers(0, 6), budgets, rooms)
def test_random_schedules(
    schedule: list, n_caches: int, n_more: int, limit: int | None, rings: tuple[Rings, int]
) -> None:
    room = Room(n_caches, n_caches + 1 + n_more if n_more else 0, 1024, limit, *rings)
    asked: dict[Sequence, tuple[list[int], int]] = {}
    for what, *how in schedule:
        joined = list(asked)
        if what == "join":
            prompt, n, chosen, (marked, cache) = how
            s = room.join(prompt, n, chosen, [len(prompt) // 2] if marked else [], cache)
            asked[s] = prompt, n
        elif what == "step":
            for _ in range(how[0]):
                room.scheduler.step()
        elif joined:
            s = joined[how[0] % len(joined)]
            room.read(s)
            if what == "stop":
                s.end("stopped")
    room.finish()
    for s, (prompt, n) in asked.items():
        wanted = alone(prompt, n)
        assert room.got[s] == wanted[: len(room.got[s])] and not s.error
        assert s.ended == "stopped" or len(room.got[s]) == n
        assert s.cache_prompt or not s.timings.n_cached
    held = sorted([*room.slots._free, *(c.state for cache in room.slots.caches for c in cache.checkpoints)])
    assert held == list(range(max(0, room.slots.origin)))


def test_short_chunks_on_the_way_to_a_mark_keep_one_checkpoint() -> None:
    """Each step of a token of a prompt once kept a state, for which another one had to be parked."""
    room = Room(n_caches=2, n_states=9)
    room.ask([1, 2, 3], 3)
    room.scheduler._pace.most = lambda *_: 1  # type: ignore[method-assign]
    room.join([7, 8], 100)
    room.scheduler.step()
    s, seen = room.join(list(range(5, 45)), 1), []
    while not s.ended:
        room.scheduler.step()
        seen += [len(s.seat.cache.checkpoints)] if s.seat else []
    assert max(seen) <= 2
