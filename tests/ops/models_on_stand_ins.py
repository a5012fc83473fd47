"""What tests of models on stand-in drivers share."""

import numpy as np
import vkrun
from vkrun.runtime.engine.decode import decode
from vkrun.runtime.engine.sequence import Sequence
from vkrun.runtime.ir.ops.sampling import n_words
from vkrun.runtime.models.step import Chunk
from vkrun.runtime.text.sampler import SamplerSettings

IDS = [1, 5, 9, 2, 4]


def tokens(model: vkrun.Model, ids: list[int], n: int = 6) -> list[int]:
    """The likeliest tokens that go on from ids, drawn on the device."""
    model.engine.reset(0)
    model.engine.prompt(0, 0, ids[:-1])
    chunk = Chunk(0, len(ids) - 1, (ids[-1],))
    return [int(made[0]) for made in decode(model.engine, [chunk], SamplerSettings(temp=0.0), n)]


class Odd:
    """A constraint: tokens of odd numbers alone."""

    is_over = False

    def __init__(self, n_vocab: int) -> None:
        self._mask = np.full(n_words(n_vocab), 0xAAAAAAAA, np.uint32).view(np.int32)

    def mask(self) -> np.ndarray:
        return self._mask

    def accept(self, token: int) -> None:
        assert token % 2 == 1


def odd_tokens(model: vkrun.Model, n: int = 12) -> list[int]:
    """Drawn on the device of those that a constraint allows, in a run that does not wait for the host."""
    settings = SamplerSettings(temp=0.0)
    s = Sequence(IDS, settings, n, constraint=Odd(model.info.n_vocab))
    model.scheduler.join(s)
    while not s.ended:
        model.scheduler.step()
    assert s.error is None
    return s.ids[len(IDS) :]
