"""A device whose kernels are chosen by Features, and so by its Tuning."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ..runtime.ir.graph import Node
from ..runtime.ir.plan import Plan
from ..runtime.tuning import Tuning
from ..shaders.catalogue import lower_all, refusal
from ..shaders.kernel import Features
from .base import Device


class TunedDevice(Device):
    features: Features

    def refusal(self) -> Callable[[Node], str] | None:
        return partial(refusal, features=self.features)

    def tune(self, tuning: Tuning) -> None:
        self.features = replace(self.features, tuning=tuning)

    def kernels(self, plan: Plan) -> tuple[object, ...]:
        return tuple(call.code if call else None for call in lower_all(plan.nodes, self.features))
