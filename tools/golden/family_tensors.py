"""From the tensors of a GGUF file to the parameters that transformers has in their place."""

import re
from collections.abc import Callable

import gguf
import numpy as np
from family_specs import Spec
from hybrid_tensors import HYBRID_RULES
from vkrun.tests.models.drawn import drawn

Array = np.ndarray
Shape = tuple[int, ...]
COMPUTED = re.compile(
    r"inv_freq$|embed_scale$|\.attn\.bias$|masked_bias$|mup_vector$|^pooler\.|position_ids$|token_type_ids$"
)
# of names that gguf's own table does not know, or knows otherwise
NAMES = {
    "block_sparse_moe.router.weight": "ffn_gate_inp.weight",
    "router.proj.weight": "ffn_gate_inp.weight",
    "router.scale": "ffn_gate_inp.scale",
    "router.per_expert_scale": "ffn_down_exps.scale",
    "layer_scalar": "layer_output_scale.weight",
    "per_layer_input_gate.weight": "inp_gate.weight",
    "per_layer_projection.weight": "proj.weight",
    "post_per_layer_input_norm.weight": "post_norm.weight",
    "post_feedforward_layernorm_1.weight": "post_ffw_norm_1.weight",
    "post_feedforward_layernorm_2.weight": "post_ffw_norm_2.weight",
    "pre_feedforward_layernorm_2.weight": "pre_ffw_norm_2.weight",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "embedding_norm.weight": "token_embd_norm.weight",
}


class Maker:
    """Values for a spec's parameters, by transformers' names; `shapes` and `given` of the tensors they are made of."""

    def __init__(self, spec: Spec, seed: int) -> None:
        self.spec, self.seed = spec, seed
        arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == spec.architecture)
        self.names = gguf.get_tensor_name_map(arch, spec.n_layers)
        self.given = {name: np.array(x, np.float32) for name, x in spec.given.items()}
        self.shapes: dict[str, Shape] = {name: x.shape for name, x in self.given.items()}

    def is_made(self, name: str) -> bool:
        """Is it a number that transformers computes?"""
        return bool(COMPUTED.search(name))

    def draw(self, name: str, shape: Shape) -> Array:
        self.shapes[name] = shape
        return drawn(name, shape, self.seed)

    def value(self, name: str, shape: Shape) -> Array:
        for pattern, rule in RULES.items():
            if (match := re.search(pattern, name)) and (
                made := rule(self, f"blk.{_layer(name)}.", match, shape)
            ) is not None:
                return made
        return self.plain(name, shape)

    def plain(self, name: str, shape: Shape) -> Array:
        made = self.draw(self.stored_name(name), shape)
        plus_one = self.spec.norms_plus_one and name.endswith("norm.weight")
        return made - 1 if plus_one else made

    def stored_name(self, name: str) -> str:
        known = next((new for old, new in NAMES.items() if name.endswith("." + old)), None)
        if known:
            return f"blk.{_layer(name)}.{known}" if _layer(name) else known
        found = self.names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert found, f"{self.spec.name}: {name}"
        return found if found.endswith((".weight", ".bias")) else found + ".weight"


def _layer(name: str) -> str:
    found = re.search(r"(?:^|\.)(?:layers?|h)\.(\d+)\.", name)
    return found[1] if found else ""


Rule = Callable[[Maker, str, re.Match, Shape], Array | None]


def unpermuted(x: Array, n_heads: int) -> Array:
    """Rows of neighbours back to rows of halves, by head."""
    return x.reshape(n_heads, -1, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def _turned(make: Maker, at: str, match: re.Match, shape: Shape) -> Array | None:
    if not make.spec.permuted:
        return None
    key = "num_attention_heads" if match[1] == "q" else "num_key_value_heads"
    return unpermuted(make.draw(f"{at}attn_{match[1]}.{match[2]}", shape), make.spec.config[key])


def _gate_up(make: Maker, at: str, _match: re.Match, shape: Shape) -> Array | None:
    if make.spec.model_type == "gpt_oss":
        return None
    n, twice, width = shape
    if make.spec.fused_experts:
        return make.draw(at + "ffn_gate_up_exps.weight", shape)
    return np.concatenate([make.draw(f"{at}ffn_{x}_exps.weight", (n, twice // 2, width)) for x in ("gate", "up")], 1)


def _interleaved(make: Maker, at: str, match: re.Match, shape: Shape) -> Array | None:
    """gpt-oss: columns of gate and up take turns, and matrices stand the other way round."""
    if make.spec.model_type != "gpt_oss":
        return None
    out, kind = np.empty(shape, np.float32), "bias" if match[1] else "weight"
    half = (*shape[:-1], shape[-1] // 2)
    for i, name in enumerate(("gate", "up")):
        stored = half if match[1] else (half[0], half[2], half[1])
        made = make.draw(f"{at}ffn_{name}_exps.{kind}", stored)
        out[..., i::2] = made if match[1] else made.swapaxes(1, 2)
    return out


def _down(make: Maker, at: str, match: re.Match, shape: Shape) -> Array:
    if match[1]:
        return make.draw(at + "ffn_down_exps.bias", shape)
    if make.spec.model_type == "gpt_oss":
        return make.draw(at + "ffn_down_exps.weight", (shape[0], shape[2], shape[1])).swapaxes(1, 2)
    return make.draw(at + "ffn_down_exps.weight", shape)


def _conv1d(make: Maker, _at: str, match: re.Match, shape: Shape) -> Array | None:
    """GPT-2's matrices are [in, out]."""
    if make.spec.model_type != "gpt2":
        return None
    return make.draw(make.stored_name(match.string), shape[::-1]).T


def _kv_b(make: Maker, at: str, _match: re.Match, shape: Shape) -> Array | None:
    """By head the rows of k, then those of v; newer files hold k's turned round."""
    if not make.spec.absorbed:
        return None
    c = make.spec.config
    n, plain, values, latent = c["num_attention_heads"], c["qk_nope_head_dim"], c["v_head_dim"], shape[1]
    k = make.draw(at + "attn_k_b.weight", (n, latent, plain)).swapaxes(1, 2)
    return np.concatenate([k, make.draw(at + "attn_v_b.weight", (n, values, latent))], 1).reshape(shape)


def _shared_gate(make: Maker, at: str, _match: re.Match, shape: Shape) -> Array:
    return make.draw(at + "ffn_gate_inp_shexp.weight", shape[1:])[None]


RULES: dict[str, Rule] = {
    **HYBRID_RULES,
    r"\.([qk])_proj\.(weight|bias)$": _turned,
    r"experts\.gate_up_proj$": _gate_up,
    r"experts\.gate_up_proj(_bias)?$": _interleaved,
    r"experts\.down_proj(_bias)?$": _down,
    r"\.(c_attn|c_proj|c_fc)\.weight$": _conv1d,
    r"kv_b_proj\.weight$": _kv_b,
    r"shared_expert_gate\.weight$": _shared_gate,
}
