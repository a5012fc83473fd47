"""A file's experts: how many there are and of what width, and how tokens are routed to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .hyper import Hyper

SCORES = {1: "softmax", 2: "sigmoid", 3: "softmax"}  # by expert_gating_func; 3: of the chosen logits alone
OF_CHOSEN = 3


@dataclass(frozen=True)
class ExpertParams:
    """n experts of which a token goes to n_used, of hidden width `width` (`n_shared` times as much in those for all
    tokens), in layers from `first` on. options: as moe_ffn's."""

    n: int
    n_used: int
    width: int
    shared_width: int
    first: int
    options: Mapping[str, Any]


def read_experts(h: Hyper, width: int, score: str, normalises: bool | None) -> ExpertParams | None:
    """None of a dense model. width: where no key says it. score, normalises: what the family takes where keys say
    nothing; with True or False for normalises no key is asked."""
    n = h.get_int("expert_count", 0, lo=0, hi=65536)
    if not n:
        return None
    n_used = h.get_int("expert_used_count", hi=256)
    h.require(n_used <= n, "expert_used_count", n_used, f"at most {n}")
    width = h.get_int("expert_feed_forward_length", width or _columns(h, "ffn_down_exps"))
    shared = h.get_int("expert_shared_count", 0, lo=0, hi=4096) * width or _columns(h, "ffn_down_shexp")
    return ExpertParams(
        n=n,
        n_used=n_used,
        width=width,
        shared_width=h.get_int("expert_shared_feed_forward_length", shared or 0, lo=int(bool(shared))),
        first=h.get_int("leading_dense_block_count", 0, lo=0, hi=4096),
        options=_options(h, n, n_used, score, normalises),
    )


def _columns(h: Hyper, name: str) -> int | None:
    """What a missing key would say: the columns of the last matrix, in the first block that has it."""
    blocks = (f"blk.{i}.{name}.weight" for i in range(h.get_int("block_count", hi=4096)))
    return next((h.file.tensors[block].shape[-1] for block in blocks if block in h.file.tensors), None)


def _options(h: Hyper, n: int, n_used: int, score: str, normalises: bool | None) -> dict[str, Any]:
    func = h.get_int("expert_gating_func", 0, lo=0, hi=255)
    h.require(not func or func in SCORES, "expert_gating_func", func, f"one of {', '.join(map(str, SCORES))}")
    if normalises is None:
        normalises = func == OF_CHOSEN or h.get_bool("expert_weights_norm", False)
    scale = h.get_float("expert_weights_scale", 0.0) or 1.0
    return dict(score=SCORES.get(func, score), normalise=normalises, scale=scale, **_groups(h, n, n_used))


def _groups(h: Hyper, n: int, n_used: int) -> dict[str, int]:
    n_groups = h.get_int("expert_group_count", 1, lo=0, hi=65536)
    if n_groups <= 1:
        return {}
    h.require(n % n_groups == 0, "expert_group_count", n_groups, f"a divisor of {n}")
    used = h.get_int("expert_group_used_count", hi=65536)
    enough = -(-n_used * n_groups // n)
    h.require(enough <= used <= n_groups, "expert_group_used_count", used, f"{enough} to {n_groups}")
    return {"n_groups": n_groups, "n_groups_used": used}
