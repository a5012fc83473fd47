"""How a prompt is cut into planned steps."""

import pytest
from vkrun.runtime.engine.sizes import GPU, SOFTWARE, StepSizes


def cut(planned: StepSizes, n: int) -> list[int]:
    made = []
    while sum(made) < n:
        made.append(planned.next(n - sum(made)))
    return made


@pytest.mark.parametrize(
    ("n", "software", "gpu"),
    [
        (1, [1], [1]),
        (3, [8], [8]),
        (20, [8, 8, 8], [64]),
        (100, [64, 64], [128]),
        (513, [512, 1], [512, 1]),
        (600, [512, 64, 8, 8, 8], [512, 128]),
        (1100, [512, 512, 64, 8, 8], [1024, 128]),
        (2048, [512] * 4, [2048]),
        (5000, [512] * 9 + [64] * 6 + [8], [2048, 2048, 1024]),
    ],
)
def test_prompts_are_cut_where_that_costs_least(n, software, gpu) -> None:
    assert (cut(SOFTWARE, n), cut(GPU, n)) == (software, gpu)


@pytest.mark.parametrize("planned", [SOFTWARE, GPU, GPU.up_to(512), SOFTWARE.up_to(3)])
def test_a_prompt_costs_about_its_tokens(planned: StepSizes) -> None:
    for n in range(1, 3000, 7):
        sizes = cut(planned, n)
        assert set(sizes) <= set(planned.sizes) and sum(sizes) >= n > sum(sizes[:-1])
        assert sum(sizes) <= n + max(n, planned.start)


def test_a_bound_is_a_size_of_its_own() -> None:
    assert GPU.up_to(300).sizes == (1, 8, 64, 128, 256, 300) and GPU.up_to(300).most == 300
    assert SOFTWARE.up_to(4096).most == 4096
