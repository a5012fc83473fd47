"""Two families that exist in tests alone: they use the protocol and the blocks, and are held against numpy.

`toydense` has what the real families vary: other norms, biases, neighbours turned on a part of the head, a window, a
cap, sinks, a plain feed-forward. `toyconv` has no attention and so no cache.
"""

from pathlib import Path

import gguf
import numpy as np
from vkrun.runtime.models.architecture import Params
from vkrun.runtime.models.blocks.attention import Attention
from vkrun.runtime.models.blocks.feed_forward import FeedForward, relu_squared
from vkrun.runtime.models.blocks.residual import Beside, Chain, Residual
from vkrun.runtime.models.blocks.rope import make_rope, plain
from vkrun.runtime.models.blocks.short_conv import ShortConv
from vkrun.runtime.models.decoder import Decoder
from vkrun.runtime.models.hyper import Hyper

Array = np.ndarray
WIDTH, HIDDEN, VOCAB, HEADS, KEYS, DIM, TURNED, TAPS, EPS = 32, 48, 40, 4, 2, 12, 8, 3, 1e-5
WINDOW, CAP, RESIDUAL, EMBEDDING, LOGITS, FINAL_CAP = 6, 2.5, 0.7, 1.5, 0.8, 4.0


def _params(h: Hyper) -> Params:
    n_layers = h.get_int("block_count")
    return Params(n_layers=n_layers, n_vocab=VOCAB, n_ctx_train=512, width=WIDTH, eps=EPS)


class ToyDense(Decoder):
    """Even layers: four norms, gelu gate, everything attention can have. Odd layers: side by side, relu^2, no gate."""

    name = "toydense"
    embedding_scale, logit_scale, logit_cap = EMBEDDING, LOGITS, FINAL_CAP

    def read(self, h: Hyper) -> Params:
        factors = self.weights.numbers("rope_freqs.weight", (TURNED // 2,))
        self.rope = make_rope(
            self.weights, self.capacity.n_ctx, TURNED, lambda: plain(TURNED, 100.0) / factors(), neighbours=True
        )
        return _params(h)

    def layer(self, i: int) -> Chain:
        at, odd = f"blk.{i}.", i % 2
        up, down = self.linear(at + "ffn_up", HIDDEN, WIDTH), self.linear(at + "ffn_down", WIDTH, HIDDEN)
        before = self.norm_of(at + "attn_norm", WIDTH)
        if odd:
            both = Beside(self._attention(at, odd), FeedForward(None, up, down, activation=relu_squared))
            return Chain((Residual(both, before, scale=RESIDUAL),))
        ffn = FeedForward(self.linear(at + "ffn_gate", HIDDEN, WIDTH), up, down, "gelu")
        after, second, last = (
            self.norm_of(at + n, WIDTH) for n in ("post_attention_norm", "ffn_norm", "post_ffw_norm")
        )
        return Chain((Residual(self._attention(at, odd), before, after), Residual(ffn, second, last)))

    def _attention(self, at: str, odd: int) -> Attention:
        n_q, n_kv = HEADS * DIM, KEYS * DIM
        return Attention(
            q=self.linear(at + "attn_q", n_q, WIDTH),
            k=self.linear(at + "attn_k", n_kv, WIDTH),
            v=self.linear(at + "attn_v", n_kv, WIDTH),
            out=self.linear(at + "attn_output", WIDTH, n_q),
            q_norm=None if odd else self.norm_of(at + "attn_q_norm", n_q),
            k_norm=None if odd else self.norm_of(at + "attn_k_norm", n_kv),
            whole_norms=True,
            rope=None if odd else self.rope,
            k_cache=self.cache(at + "k_cache", (DIM,) * KEYS),
            v_cache=self.cache(at + "v_cache", (DIM,) * KEYS, values=True),
            dim=DIM,
            scale=0.4,
            window=0 if odd else WINDOW,
            cap=CAP if odd else 0.0,
            sinks=None if odd else self.weights.vector(at + "attn_sinks.weight", (HEADS,)),
        )


class ToyConv(Decoder):
    """Short convolutions and gated feed-forwards, normed after."""

    name = "toyconv"
    tail = TAPS - 1

    def read(self, h: Hyper) -> Params:
        return _params(h)

    def layer(self, i: int) -> Chain:
        at = f"blk.{i}."
        conv = ShortConv(
            into=self.linear(at + "shortconv.in_proj", 3 * WIDTH, WIDTH),
            out=self.linear(at + "shortconv.out_proj", WIDTH, WIDTH),
            conv=self.weights.vector(at + "shortconv.conv.weight", (WIDTH, TAPS)),
            state=self.state(at + "conv_state", (TAPS - 1) * WIDTH),
            bias=self.weights.vector(at + "shortconv.conv.bias", (WIDTH,)) if i % 2 else None,
        )
        gate, up = (self.linear(at + name, HIDDEN, WIDTH) for name in ("ffn_gate", "ffn_up"))
        ffn = FeedForward(gate, up, self.linear(at + "ffn_down", WIDTH, HIDDEN))
        norms = [self.norm_of(at + name, WIDTH) for name in ("post_attention_norm", "post_ffw_norm")]
        return Chain((Residual(conv, after=norms[0]), Residual(ffn, total=norms[1])))


TOYS = {toy.name: toy for toy in (ToyDense, ToyConv)}
Shapes = dict[str, tuple[int, ...]]


def shapes(name: str, n_layers: int) -> Shapes:
    layer = _dense_shapes if name == ToyDense.name else _conv_shapes
    made: Shapes = {"token_embd.weight": (VOCAB, WIDTH), "output_norm.weight": (WIDTH,)}
    for i in range(n_layers):
        made |= {f"blk.{i}.{key}": shape for key, shape in layer(i % 2).items()}
    return made | ({"rope_freqs.weight": (TURNED // 2,)} if name == ToyDense.name else {})


def _dense_shapes(odd: int) -> Shapes:
    n_q, n_kv = HEADS * DIM, KEYS * DIM
    made: Shapes = {"attn_norm.weight": (WIDTH,), "attn_norm.bias": (WIDTH,)}
    made |= {"attn_q.weight": (n_q, WIDTH), "attn_q.bias": (n_q,), "attn_k.weight": (n_kv, WIDTH)}
    made |= {"attn_v.weight": (n_kv, WIDTH), "attn_v.bias": (n_kv,), "attn_output.weight": (WIDTH, n_q)}
    made |= {"ffn_up.weight": (HIDDEN, WIDTH), "ffn_up.bias": (HIDDEN,), "ffn_down.weight": (WIDTH, HIDDEN)}
    if odd:
        return made
    norms = "post_attention_norm", "ffn_norm", "post_ffw_norm"
    made |= {"attn_q_norm.weight": (n_q,), "attn_k_norm.weight": (n_kv,), "attn_sinks.weight": (HEADS,)}
    return made | {f"{n}.weight": (WIDTH,) for n in norms} | {"ffn_gate.weight": (HIDDEN, WIDTH)}


def _conv_shapes(odd: int) -> Shapes:
    made: Shapes = {"shortconv.in_proj.weight": (3 * WIDTH, WIDTH), "shortconv.out_proj.weight": (WIDTH, WIDTH)}
    made |= {"shortconv.conv.weight": (WIDTH, TAPS)} | ({"shortconv.conv.bias": (WIDTH,)} if odd else {})
    made |= {f"ffn_{n}.weight": (HIDDEN, WIDTH) for n in ("gate", "up")} | {"ffn_down.weight": (WIDTH, HIDDEN)}
    return made | {f"{n}.weight": (WIDTH,) for n in ("post_attention_norm", "post_ffw_norm")}


def write_toy(path: Path, name: str, n_layers: int = 4) -> dict[str, Array]:
    """A random file of a toy family; its tensors."""
    rng, made = np.random.default_rng(5), {}
    writer = gguf.GGUFWriter(path, name)
    writer.add_uint32(f"{name}.block_count", n_layers)
    for key, shape in shapes(name, n_layers).items():
        low = 0.5 if "norm.weight" in key or "freqs" in key else None
        drawn = rng.uniform(low, 2.0, shape) if low else rng.standard_normal(shape) / shape[-1] ** 0.5
        made[key] = drawn.astype(np.float32)
        writer.add_tensor(key, made[key])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return made
