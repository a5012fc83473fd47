"""Faster equivalents of three parts of transformers' Qwen3-Next, used while training and never saved.

The plain path launches a kernel per token group and per expert. Here the delta rule runs in chunks through batched
matrix products, every expert is computed for every token (unused ones weigh 0), and the depthwise convolution is four
shifted products. `patched()` swaps them in and restores the originals; `deviation()` says how far apart they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
import transformers.models.qwen3_next.modeling_qwen3_next as reference
from torch import Tensor, nn

CHUNK = 64


class UnitLowerInverse(torch.autograd.Function):
    """(I + L)^-1 for strictly lower L [..., C, C], C a power of two, by doubling the inverted diagonal blocks.

    With X the inverse of the b-wide diagonal blocks and B the blocks below them, X - X B X inverts those 2b wide.
    """

    @staticmethod
    def forward(ctx: Any, lower: Tensor) -> Tensor:
        size = lower.shape[-1]
        index = torch.arange(size, device=lower.device)
        inverse = torch.eye(size, device=lower.device).expand_as(lower)
        width = 1
        while width < size:
            row, col = index[:, None] // width, index[None, :] // width
            below = lower * ((row == col + 1) & (row % 2 == 1))
            inverse = inverse - inverse @ below @ inverse
            width *= 2
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        transposed = inverse.mT
        return -(transposed @ grads[0] @ transposed).tril(-1)


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


def _chunked(x: Tensor, heads: int, padding: int) -> Tensor:
    """[B, S, H, ...] -> float32 [B, heads, S/CHUNK, CHUNK, ...], zero-padded at the end, k heads repeated."""
    x = x.float().transpose(1, 2)
    if x.shape[1] != heads:
        x = x.repeat_interleave(heads // x.shape[1], dim=1)
    x = F.pad(x, (0, 0, 0, padding) if x.dim() == 4 else (0, padding))
    return x.unflatten(2, (-1, CHUNK))


def delta_rule(query: Tensor, key: Tensor, value: Tensor, g: Tensor, beta: Tensor, **_: Any) -> tuple[Tensor, None]:
    """The gated delta rule over whole sequences from an empty state, in chunks, in float32.

    query, key [B, S, Hk, D], value [B, S, Hv, D], g (log decay) and beta [B, S, Hv] -> [B, S, Hv, D].
    """
    dtype, length, heads = query.dtype, query.shape[1], value.shape[2]
    padding = -length % CHUNK
    with torch.autocast(query.device.type, enabled=False):
        q, k, v, log, b = (_chunked(x, heads, padding) for x in (query, key, value, g, beta))
        q, k = _unit(q) * q.shape[-1] ** -0.5, _unit(k)
        log = log.cumsum(-1)
        mask = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).tril()
        decay = (log[..., :, None] - log[..., None, :]).masked_fill(~mask, -torch.inf).exp()
        k_beta = k * b[..., None]
        inverse = UnitLowerInverse.apply((k_beta @ k.mT * decay).tril(-1))
        new_v = (inverse @ (v * b[..., None])).unbind(2)
        old_k = (inverse @ (k_beta * log.exp()[..., None])).unbind(2)
        inner = (q @ k.mT * decay).unbind(2)
        q_decayed = (q * log.exp()[..., None]).unbind(2)
        k_decayed = (k * (log[..., -1:] - log).exp()[..., None]).mT.unbind(2)
        kept = log[..., -1].exp()[..., None, None].unbind(2)
        state, outputs = torch.zeros_like(k_decayed[0] @ new_v[0]), []
        for i in range(len(new_v)):
            v_new = new_v[i] - old_k[i] @ state
            outputs.append(q_decayed[i] @ state + inner[i] @ v_new)
            state = state * kept[i] + k_decayed[i] @ v_new
        out = torch.stack(outputs, 2).flatten(2, 3)[:, :, :length]
    return out.transpose(1, 2).to(dtype), None


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, **_: Any
) -> Tensor:
    """silu of the depthwise causal convolution of x [B, C, S] with weight [C, K]."""
    taps = weight.shape[-1]
    padded = F.pad(x, (taps - 1, 0))
    out = sum(padded[..., j : j + x.shape[-1]] * weight[:, j, None].to(x.dtype) for j in range(taps))
    assert isinstance(out, Tensor) and bias is None
    return F.silu(out) if activation else out


def dense_experts(self: Any, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """All experts for all tokens [T, E]: with X small, fewer and larger products win over sorting tokens."""
    weights = hidden.new_zeros(hidden.shape[0], self.gate_up_proj.shape[0], dtype=top_k_weights.dtype)
    weights = weights.scatter(1, top_k_index, top_k_weights)
    both = F.linear(hidden, self.gate_up_proj.flatten(0, 1)).unflatten(-1, (weights.shape[1], 2, -1))
    active = F.silu(both[:, :, 0]) * both[:, :, 1] * weights[..., None].to(both.dtype)
    return active.flatten(1) @ self.down_proj.transpose(1, 2).flatten(0, 1).to(active.dtype)


_GLOBALS = {"torch_chunk_gated_delta_rule": delta_rule, "causal_conv1d_fn": causal_conv}
_ATTRIBUTES = {"chunk_gated_delta_rule": delta_rule, "torch_chunk_gated_delta_rule": delta_rule,
               "causal_conv1d_fn": causal_conv}  # fmt: skip


@contextmanager
def patched(model: nn.Module) -> Iterator[None]:
    """Within it the model computes through the functions of this file."""
    missing = object()
    undo: list[tuple[Any, str, Any]] = []

    def swap(owner: Any, name: str, new: Any) -> None:
        undo.append((owner, name, vars(owner).get(name, missing)))
        setattr(owner, name, new)

    for name, new in _GLOBALS.items():
        if hasattr(reference, name):
            swap(reference, name, new)
    swap(reference.Qwen3NextExperts, "forward", dense_experts)
    for module in model.modules():
        if isinstance(module, reference.Qwen3NextGatedDeltaNet):
            for name, new in _ATTRIBUTES.items():
                if hasattr(module, name):
                    swap(module, name, new)
    try:
        yield
    finally:
        for owner, name, old in reversed(undo):
            delattr(owner, name) if old is missing else setattr(owner, name, old)


@torch.no_grad()
def deviation(model: nn.Module, ids: Tensor) -> float:
    """Largest relative difference of the logits, patched against plain, in float32."""
    plain = model(ids, use_cache=False).logits
    with patched(model):
        fast = model(ids, use_cache=False).logits
    return float((plain - fast).norm() / plain.norm())
