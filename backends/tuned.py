"""A device whose kernels are chosen by Features, and so by its Tuning."""

from dataclasses import replace
from functools import partial

from ..runtime.ir.plan import Plan
from ..runtime.tuning import Tuning
from ..shaders.catalogue import lower_all, refusal
from ..shaders.kernel import Features
from .base import Device, Rules
from .lowered import lower


class TunedDevice(Device):
    features: Features

    def rules(self) -> Rules | None:
        return Rules(partial(refusal, features=self.features), partial(lower, features=self.features))

    def tune(self, tuning: Tuning) -> None:
        self.features = replace(self.features, tuning=tuning)

    def kernels(self, plan: Plan) -> tuple[object, ...]:
        return tuple(call.code if call else None for call in lower_all(plan.nodes, self.features))
