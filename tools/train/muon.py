"""Muon for the matrices of a small model: momentum, orthogonalised. Matrices of one shape are one batch."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor


def orthogonalised(x: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrix of each [..., r, c], roughly, by the quintic Newton-Schulz iteration in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    y = x.bfloat16()
    tall = y.shape[-2] > y.shape[-1]
    y = y.mT if tall else y
    y = y / (y.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = y @ y.mT
        y = a * y + (b * gram + c * gram @ gram) @ y
    return y.mT if tall else y


class Muon(torch.optim.Optimizer):
    """Parameters of two or three axes; the last two are a matrix. Weight decay is decoupled."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for param in group["params"]:
                if param.grad is not None:
                    shapes[tuple(param.shape[-2:])].append(param)
            for (rows, cols), params in shapes.items():
                self._step_shape(params, group, max(1.0, rows / cols) ** 0.5)

    def _step_shape(self, params: list[Tensor], group: dict, scale: float) -> None:
        updates = []
        for param in params:
            if "momentum" not in self.state[param]:
                self.state[param]["momentum"] = torch.zeros_like(param)
            buffer = self.state[param]["momentum"]
            buffer.lerp_(param.grad, 1 - group["momentum"])
            updates.append(param.grad.lerp(buffer, group["momentum"]).view(-1, *param.shape[-2:]))
        batch = orthogonalised(torch.cat(updates))
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        for param, update in zip(params, batch.split([len(u) for u in updates]), strict=True):
            param.add_(update.view_as(param).to(param.dtype), alpha=-group["lr"] * scale)
