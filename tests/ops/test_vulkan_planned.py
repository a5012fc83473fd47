"""A plan that another process made and lowered, on Vulkan."""

from pathlib import Path
from threading import Lock

import numpy as np
from vkrun.backends.lowered import made_before
from vkrun.backends.vulkan import BACKEND
from vkrun.backends.vulkan.device import VulkanDevice
from vkrun.runtime.engine.engine import Engine
from vkrun.runtime.engine.planner import Planner
from vkrun.runtime.gguf.file import GGUFFile
from vkrun.runtime.models import Capacity, open_model
from vkrun.runtime.models.step import Chunk, StepShape
from vkrun.tests.model_files import write_model


def test_it_computes_what_one_made_here_does(tmp_path: Path) -> None:
    device = BACKEND.open(BACKEND.devices()[0])
    assert isinstance(device, VulkanDevice)
    ids, rules = [3, 1, 4, 1], device.rules()
    assert rules
    with GGUFFile.open(write_model(tmp_path / "a.gguf")) as f:
        engine = Engine(open_model(f, Capacity(64)), device)
    planner = Planner(engine.model)
    made = engine.finish(planner.prepare(StepShape(((1, 4),), 64, 4), 3, rules, Lock()))
    planner.close()
    assert made_before(made.plan, device.features, device.limits)
    device.write(made.inputs.storage, made.inputs.fill([[Chunk(0, 0, ids)]], 64))
    made.program.run()
    found = made.program.read(made.output)
    engine.drop(made)
    engine.reset(0)
    assert np.array_equal(found, engine.step([Chunk(0, 0, ids)], 4, every=True))
    engine.close()
    device.close()
