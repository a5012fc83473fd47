"""What tests of models on stand-in drivers share."""

import vkrun
from vkrun.runtime.engine.decode import decode
from vkrun.runtime.models.step import Chunk
from vkrun.runtime.text.sampler import SamplerSettings

IDS = [1, 5, 9, 2, 4]


def tokens(model: vkrun.Model, ids: list[int], n: int = 6) -> list[int]:
    """The likeliest tokens that go on from ids, drawn on the device."""
    model.engine.reset(0)
    model.engine.prompt(0, 0, ids[:-1])
    chunk = Chunk(0, len(ids) - 1, (ids[-1],))
    return [int(made[0]) for made in decode(model.engine, [chunk], SamplerSettings(temp=0.0), n)]
