"""Many clients of a server on a card that is not there: what they wait for, and what they make."""

from statistics import median

import pytest
from vkrun.tests.pretend_card import ROWS, Server, Taken


@pytest.fixture
def server():
    made = Server()
    with made.clock():
        yield made


def steps_with_prompts(taken: list[Taken]) -> list[Taken]:
    return [t for t in taken if any(size > 1 for _, size in t.groups)]


def test_short_prompts_that_wait_together_are_read_in_few_steps(server: Server) -> None:
    for n in (8, 32):
        server.at_once(n, 16, 256)
    first = len(server.card.taken)
    rate, firsts = server.at_once(32, 16, 256, rounds=2)
    assert len(steps_with_prompts(server.card.taken[first:])) <= 64 // 3
    assert max(firsts) < 0.3 and rate > 0.9 * 32 / ROWS[32] * 1e3


def test_what_is_read_again_sooner_than_it_is_copied_is_not_parked(server: Server) -> None:
    for _ in range(3):
        server.at_once(32, 16, 256)
    parking = [t for t in server.card.taken if t.what == "parking"]
    assert len(parking) <= 2


def test_asked_again_many_clients_make_as_much(server: Server) -> None:
    rates = [server.at_once(32, 512, 128, rounds=2)[0] for _ in range(4)]
    prompts, decoding = 32 * 512 / 2048 * ROWS[2048], 128 * ROWS[32]
    assert min(rates[1:]) > 0.75 * 32 * 128 / (prompts + decoding) * 1e3
    assert max(rates[1:]) < 1.15 * min(rates[1:])


def test_many_prompts_have_their_first_token_soon(server: Server) -> None:
    server.at_once(32, 512, 128)
    firsts = server.at_once(32, 512, 128, rounds=3)[1]
    assert median(firsts) < 1.5 and max(firsts) < 3.0


@pytest.mark.parametrize(("n_streams", "longest"), [(8, ROWS[512] + 2.0), (32, ROWS[512])])
def test_no_gap_beside_a_prompt_is_longer_than_a_step(server: Server, n_streams: int, longest: float) -> None:
    server.at_once(8, 512, 128)
    server.at_once(32, 16, 32, rounds=3)  # so that every slot holds what somebody left
    gaps: list[tuple[float, float]] = []
    server.stream(n_streams, gaps)
    for n in (512, 1024, 512):
        first, found = server.beside(n, gaps)
        assert first < 1.0 and max(found) <= 1e-3 * longest + 0.002
    assert median(s for _, s in gaps) < 1.1e-3 * ROWS[n_streams]
