"""Whose turn it is, and which worker a prompt goes to."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from vkrun.runtime.server.jobs import Job
from vkrun.runtime.server.worker.fair import MOST_USERS, FairQueue
from vkrun.runtime.server.worker.routing import BLOCK, Router


def job(user: str, n: int = 10, i: int = 0) -> Job:
    return Job(f"{user} {i}", tuple(range(n)), user=user)


def test_a_user_of_many_jobs_waits_for_those_of_few() -> None:
    queue = FairQueue(1000, 1000)
    for i in range(50):
        queue.push(job("greedy", i=i))
    assert [queue.pop().user for _ in range(5)] == ["greedy"] * 5
    for i in range(3):
        queue.push(job("modest", i=i))
    assert Counter(queue.pop().user for _ in range(6)) == {"greedy": 3, "modest": 3}


def test_tokens_count_and_not_jobs() -> None:
    queue = FairQueue(1000, 1000)
    for i in range(40):
        queue.push(job("long", 100, i))
        queue.push(job("short", 10, i))
    taken = [queue.pop() for _ in range(40)]
    n_tokens = Counter()
    for each in taken:
        n_tokens[each.user] += len(each.ids)
    assert abs(n_tokens["long"] - n_tokens["short"]) <= 100


def test_made_tokens_count_twice_and_reused_ones_not() -> None:
    queue = FairQueue(1000, 1000)
    for user in "abc":
        queue.push(job(user, i=0))
        queue.push(job(user, i=1))
    for _ in "abc":
        queue.pop()
    queue.charge("a", n_made=6)
    queue.charge("b", 11)
    queue.charge("c", -10)
    assert [queue.pop().user for _ in "abc"] == ["c", "b", "a"]


def test_who_was_away_saves_nothing_up() -> None:
    queue = FairQueue(1000, 1000)
    for i in range(100):
        queue.push(job("busy", 100, i))
    for _ in range(50):
        queue.pop()
    for i in range(10):
        queue.push(job("new", 100, i))
    assert Counter(queue.pop().user for _ in range(10))["busy"] >= 4


def test_bounds() -> None:
    queue = FairQueue(3, 2)
    queue.push(job("a", i=0))
    assert not queue.has_too_many("a")
    queue.push(job("a", i=1))
    assert queue.has_too_many("a") and not queue.has_too_many("b") and not queue.is_full
    queue.push(job("b"))
    assert queue.is_full and queue.remove("a 1") and not queue.is_full and queue.remove("a 1") is None
    assert [queue.pop().id for _ in range(2)] == ["a 0", "b 0"] and len(queue) == 0


def test_names_of_users_take_no_memory_for_good() -> None:
    queue = FairQueue(10, 10)
    for i in range(3 * MOST_USERS):
        queue.push(job(f"user {i}"))
        queue.charge(queue.pop().user, n_made=5)
    assert len(queue._served) <= MOST_USERS + 1


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 50)), max_size=60))
def test_each_users_jobs_keep_their_order(pushed: list) -> None:
    queue = FairQueue(1000, 1000)
    for i, (user, n) in enumerate(pushed):
        queue.push(Job(str(i), (1,) * n, user=user))
    taken = [queue.pop() for _ in pushed]
    for user in "abcd":
        ids = [int(each.id) for each in taken if each.user == user]
        assert ids == sorted(ids) and len(ids) == sum(u == user for u, _ in pushed)


def test_prompts_go_where_their_beginning_was_read() -> None:
    router, shared = Router(), tuple(range(3 * BLOCK))
    assert router.choose(shared, {0: 1.0, 1: 0.0}) == 1
    router.note(shared, 1)
    router.note((7,) * 3 * BLOCK, 0)
    assert router.choose((*shared[:BLOCK], 5, 5), {0: 0.0, 1: 3.0}) == 1
    assert router.choose((9, *shared[1:]), {0: 0.0, 1: 3.0}) == 0
    assert router.choose(shared[: BLOCK - 1], {0: 0.0, 1: 3.0}) == 0  # too short to tell
    assert router.choose(shared, {0: 2.0}) == 0  # the one has no room
    router.note(shared, 0)
    assert router.choose(shared, {0: 1.0, 1: 1.0}) == 0  # who read it last
    router.forget(0)
    assert router.choose(shared, {0: 5.0, 1: 1.0}) == 1
