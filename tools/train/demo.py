#!/usr/bin/env python3
"""Trains the bundled model: a small Qwen3-Next on Python source, within a wall-clock budget.

    tools/train/demo.py --out DIR [--corpus DIR ...] [--minutes 8] [--device cuda]

Writes a Hugging Face checkpoint (config.json, float16 safetensors, tokenizer.json) that `vkrun convert` turns into a
GGUF file. Needs torch, transformers (5 or later), tokenizers and numpy; the default corpus is the standard library of
the running Python (PSF licence), third-party packages left out. The budget counts from the start of the process and
holds whatever happens: the learning rate follows the clock, and a checkpoint is saved at its end.
"""

import argparse
import json
import math
import os
import random
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from corpus import Corpus, load_corpus
from fast import deviation, patched
from muon import Muon
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

STARTED = time.monotonic()
VOCAB = 4096
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# The split that GGUF calls `tokenizer.ggml.pre = qwen2`.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# While merges are learnt, line ends stand apart: no token joins ":" and a line end, so that a prompt which stops at ":"
# is cut into the same tokens as the text the model has learnt from.
LINE_END = r"[\r\n]+"
PROMPTS = ["def fibonacci(n):", "class Stack:\n    def __init__(self):", "def read_lines(path):"]
KINDS = {"files": 0.40, "tests": 0.15, "pieces": 0.45}  # share of the rows of a batch
KINDS_LAST = {"files": 0.20, "tests": 0.0, "pieces": 0.80}  # in the last quarter of the time
RESERVE_S = {"cuda": 45.0, "cpu": 20.0}  # kept free at the end for saving, the final loss and the samples


def log(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f}s] {text}", flush=True)


@dataclass
class Data:
    """Token streams: one array a kind; for pieces also where each document starts."""

    streams: dict[str, torch.Tensor]
    starts: dict[str, torch.Tensor]
    held_out: torch.Tensor
    rng: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(1))

    def batch(self, rows: int, length: int, shares: dict[str, float]) -> torch.Tensor:
        """ids [rows, length + 1]: windows of the streams; rows of pieces begin where a document begins."""
        kinds = random.choices(list(self.streams), [shares[kind] for kind in self.streams], k=rows)
        return torch.stack([self._row(kind, length) for kind in kinds])

    def _row(self, kind: str, length: int) -> torch.Tensor:
        stream, starts = self.streams[kind], self.starts[kind]
        aligned = kind == "pieces" or random.random() < 0.15
        pool = len(starts) if aligned else len(stream)
        at = int(torch.randint(pool, (1,), generator=self.rng))
        at = min(int(starts[at]) if aligned else at, len(stream) - length - 1)
        return stream[at : at + length + 1].long()


def train_tokenizer(corpus: Corpus) -> Tokenizer:
    """A byte-level BPE of VOCAB entries. The special tokens come last, as in Qwen's vocabularies."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in (SPLIT, LINE_END)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus.files + corpus.pieces + corpus.tests[::3], trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split[0], byte_level])
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def tokenised(tokenizer: Tokenizer, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """All texts in random order, each closed by <|endoftext|>, as one int16 stream, and the starts of the texts."""
    end = tokenizer.token_to_id(SPECIALS[0])
    texts = random.Random(0).sample(texts, len(texts))
    docs = [np.array([*encoding.ids, end], dtype=np.int16) for encoding in tokenizer.encode_batch(texts)]
    starts = np.cumsum([0] + [len(doc) for doc in docs[:-1]])
    return torch.from_numpy(np.concatenate(docs)), torch.from_numpy(starts)


def prepare(roots: list[Path]) -> tuple[Tokenizer, Data]:
    corpus = load_corpus(roots)
    sizes = {name: f"{len(texts)} / {sum(map(len, texts)) / 1e6:.2f} MB" for name, texts in vars(corpus).items()}
    log(f"corpus {sizes}")
    tokenizer = train_tokenizer(corpus)
    pairs = {kind: tokenised(tokenizer, getattr(corpus, kind)) for kind in KINDS if getattr(corpus, kind)}
    if not pairs:
        sys.exit(f"no usable .py files under {[str(root) for root in roots]}")
    held_out, _ = tokenised(tokenizer, corpus.held_out or next(iter(vars(corpus).values()))[:2])
    data = Data({k: p[0] for k, p in pairs.items()}, {k: p[1] for k, p in pairs.items()}, held_out)
    log(f"tokens { ({k: len(v) for k, v in data.streams.items()}) } held out {len(held_out)}")
    return tokenizer, data


def make_model(tokenizer: Tokenizer) -> Qwen3NextForCausalLM:
    end = tokenizer.token_to_id(SPECIALS[0])
    config = Qwen3NextConfig(
        vocab_size=VOCAB,
        hidden_size=256,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        partial_rotary_factor=0.5,
        rope_theta=10000.0,
        full_attention_interval=4,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=64,
        linear_value_head_dim=64,
        num_experts=12,
        num_experts_per_tok=4,
        moe_intermediate_size=128,
        shared_expert_intermediate_size=256,
        intermediate_size=256,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=end,
        pad_token_id=end,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    return Qwen3NextForCausalLM(config)


def optimizers(model: torch.nn.Module, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices; AdamW for the embedding (tied), norms, router, convolution and decay parameters."""
    hidden, rest = [], []
    for name, param in model.named_parameters():
        matrix = param.dim() >= 2 and not any(part in name for part in ("embed", "lm_head", "conv1d", "gate.weight"))
        (hidden if matrix else rest).append(param)
    fused = {"fused": True} if args.device == "cuda" else {}
    adam = torch.optim.AdamW(rest, lr=args.lr_adam, betas=(0.9, 0.95), weight_decay=0.01, **fused)
    return [Muon(hidden, lr=args.lr_muon, weight_decay=args.decay), adam]


class Balance:
    """The load-balancing loss of each router (X * sum of used share * mean probability), gathered by hooks."""

    def __init__(self, model: Qwen3NextForCausalLM) -> None:
        self.top_k = model.config.num_experts_per_tok
        self.losses: list[torch.Tensor] = []
        for layer in model.model.layers:
            layer.mlp.gate.register_forward_hook(self._record)

    def _record(self, module: torch.nn.Module, inputs: tuple, output: Any) -> None:
        if not torch.is_grad_enabled():
            return
        logits = output[0] if isinstance(output, tuple) else output
        probs = logits.float().softmax(-1)
        used = torch.zeros_like(probs).scatter(1, probs.topk(self.top_k, -1).indices, 1.0).mean(0)
        self.losses.append((used / self.top_k * probs.mean(0)).sum() * probs.shape[-1])

    def take(self) -> torch.Tensor:
        total = torch.stack(self.losses).mean()
        self.losses.clear()
        return total


def add_dropout(model: Qwen3NextForCausalLM, rate: float) -> None:
    """Dropout on what each block adds to the residual stream: the corpus is seen many times over."""

    def drop(module: torch.nn.Module, inputs: tuple, output: object) -> object:
        if not module.training:
            return output
        if isinstance(output, tuple):
            return (F.dropout(output[0], rate), *output[1:])
        return F.dropout(output, rate)

    for layer in model.model.layers:
        mixer = layer.linear_attn if hasattr(layer, "linear_attn") else layer.self_attn
        mixer.register_forward_hook(drop)
        layer.mlp.register_forward_hook(drop)


@dataclass
class Trainer:
    model: Qwen3NextForCausalLM
    data: Data
    args: argparse.Namespace
    deadline: float
    tokens: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        self.rows = self.args.rows
        self.begun = time.monotonic()
        self.optimizers = optimizers(self.model, self.args)
        self.base_lr = [opt.param_groups[0]["lr"] for opt in self.optimizers]
        self.balance = Balance(self.model)
        self.damping = 1.0

    def progress(self) -> float:
        """Share of the training time that is over, 0 to 1."""
        return min(1.0, (time.monotonic() - self.begun) / max(1e-9, self.deadline - self.begun))

    def rate(self) -> float:
        """Warm-up over 2% of the time, then a cosine down to 1%."""
        done = self.progress()
        return self.damping * min(1.0, done / 0.02 + 0.01) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def shape(self) -> tuple[int, int]:
        """(rows, length): long rows in the last third, so that far context is learnt at the same cost a step."""
        length = self.args.seq if self.progress() < 0.67 else self.args.seq_long
        return max(1, self.rows * self.args.seq // length), length

    def loss(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(self.args.device, dtype=torch.bfloat16, enabled=self.args.device == "cuda"):
            logits = self.model(ids[:, :-1], use_cache=False).logits
        cross = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        return cross, self.balance.take()

    def step(self) -> torch.Tensor:
        ids = self.data.batch(*self.shape(), KINDS if self.progress() < 0.75 else KINDS_LAST)
        if self.args.device == "cuda":
            ids = ids.pin_memory().to("cuda", non_blocking=True)
        cross, balance = self.loss(ids)
        (cross + self.args.balance * balance).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for opt, base in zip(self.optimizers, self.base_lr, strict=True):
            opt.param_groups[0]["lr"] = base * self.rate()
            opt.step()
            opt.zero_grad(set_to_none=True)
        self.tokens += ids[:, 1:].numel()
        self.steps += 1
        return torch.stack((cross.detach(), balance.detach(), norm))

    def try_step(self) -> torch.Tensor | None:
        """One step; None when memory ran out, after which rows are halved."""
        try:
            return self.step()
        except torch.OutOfMemoryError:
            self.balance.losses.clear()
        for opt in self.optimizers:
            opt.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        self.rows = max(1, self.rows // 2)
        log(f"out of memory: {self.rows} rows from now on")
        return None

    def run(self) -> None:
        """Trains until the deadline; keeps a copy of good weights to return to should the loss become NaN."""
        good = {k: v.clone() for k, v in self.model.state_dict().items()}
        sums, count, since, best, tokens = torch.zeros(3), 0, time.monotonic(), math.inf, 0
        while time.monotonic() < self.deadline:
            figures = self.try_step()
            if figures is None:
                continue
            sums, count = sums.to(figures.device) + figures, count + 1
            if count < self.args.every and time.monotonic() < self.deadline:
                continue
            loss, balance, norm = (sums / count).tolist()
            now = time.monotonic()
            log(
                f"step {self.steps} loss {loss:.3f} balance {balance:.3f} grad {norm:.2f} rate {self.rate():.3f} "
                f"{(self.tokens - tokens) / (now - since) / 1e3:.0f}k tokens/s"
            )
            if not math.isfinite(loss) or loss > best + 1.5:
                self.model.load_state_dict(good)
                self.damping *= 0.5
                self.optimizers = optimizers(self.model, self.args)
                log(f"diverged: back to the last good weights, learning rate x {self.damping}")
            else:
                best = min(best, loss)
                good = {k: v.clone() for k, v in self.model.state_dict().items()}
                if self.steps % (10 * self.args.every) == 0:
                    log(f"held-out loss {held_out_loss(self.model, self.data, self.args, 16):.4f}")
            sums, count, since, tokens = torch.zeros(3), 0, time.monotonic(), self.tokens


@torch.no_grad()
def held_out_loss(model: Qwen3NextForCausalLM, data: Data, args: argparse.Namespace, rows: int) -> float:
    """Mean cross-entropy, nats a token, over at most `rows` windows spread over the held-out files, in float32."""
    length = args.seq
    offsets = np.linspace(0, len(data.held_out) - length - 1, rows).astype(int)
    was_training = model.training
    model.eval()
    losses = []
    for part in np.array_split(offsets, max(1, rows // 16)):
        ids = torch.stack([data.held_out[at : at + length + 1].long() for at in part]).to(args.device)
        logits = model(ids[:, :-1], use_cache=False).logits
        losses.append(F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten()).item())
    model.train(was_training)
    return float(np.mean(losses))


@torch.no_grad()
def greedy(model: Qwen3NextForCausalLM, tokenizer: Tokenizer, prompt: str, device: str, count: int = 96) -> str:
    """The prompt and its greedy continuation, computed without a cache."""
    end = tokenizer.token_to_id(SPECIALS[0])
    ids = tokenizer.encode(prompt).ids
    for _ in range(count):
        logits = model(torch.tensor([ids], device=device), use_cache=False).logits[0, -1]
        token = int(logits.argmax())
        if token == end:
            break
        ids.append(token)
    return tokenizer.decode(ids)


def save(model: Qwen3NextForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """A plain checkpoint in float16, in shards under 16 MiB; the tied head is not stored twice."""
    out.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().to("cpu", torch.float16) for k, v in model.state_dict().items() if k != "lm_head.weight"}
    model.save_pretrained(out, state_dict=state, max_shard_size="16MB")
    tokenizer.save(str(out / "tokenizer.json"))


def report(model: Qwen3NextForCausalLM, tokenizer: Tokenizer, data: Data, trainer: Trainer, out: Path) -> None:
    """Held-out loss and samples of the plain model, as far as the time allows."""
    model.eval()
    figures = {"steps": trainer.steps, "tokens": trainer.tokens, "corpus": trainer.args.corpus_note}
    figures["held_out_nats"] = held_out_loss(model, data, trainer.args, 64 if trainer.args.device == "cuda" else 4)
    log(f"final held-out loss {figures['held_out_nats']:.4f} nats a token")
    with patched(model):
        figures["samples"] = [greedy(model, tokenizer, prompt, trainer.args.device) for prompt in PROMPTS]
    for sample in figures["samples"]:
        print("-" * 60, sample, sep="\n", flush=True)
    (out / "training.json").write_text(json.dumps(figures, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the checkpoint")
    add("--corpus", type=Path, nargs="+", default=[Path(sysconfig.get_paths()["stdlib"])], help="folders of .py files")
    add("--corpus-note", default=f"Python {sys.version.split()[0]} standard library", help="kept with the figures")
    add("--minutes", type=float, default=8.0, help="wall-clock budget of the whole process")
    add("--device", choices=["cuda", "cpu"], default="cuda" if torch.cuda.is_available() else "cpu")
    add("--rows", type=int, help="sequences a step (default 64, on a CPU 4)")
    add("--seq", type=int, default=512, help="tokens a sequence")
    add("--seq-long", type=int, default=1024, help="tokens a sequence in the last third")
    add("--lr-muon", type=float, default=0.012)
    add("--lr-adam", type=float, default=0.003)
    add("--decay", type=float, default=0.2, help="weight decay of the hidden matrices")
    add("--dropout", type=float, default=0.12)
    add("--balance", type=float, default=0.01, help="weight of the load-balancing loss")
    add("--every", type=int, help="steps a log line (default 50, on a CPU 5)")
    args = parser.parse_args()
    args.rows = args.rows or (64 if args.device == "cuda" else 4)
    args.every = args.every or (50 if args.device == "cuda" else 5)
    return args


def main() -> None:
    args = arguments()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    random.seed(0)
    log(f"torch {torch.__version__} device {args.device} corpus {[str(c) for c in args.corpus]}")
    tokenizer, data = prepare(args.corpus)
    model = make_model(tokenizer).to(args.device)
    log(f"parameters {sum(p.numel() for p in model.parameters()) / 1e6:.2f}M")
    probe = data.held_out[None, :200].long().to(args.device)
    log(f"fast path deviates from the plain one by {deviation(model, probe):.2e}")
    add_dropout(model, args.dropout)
    trainer = Trainer(model, data, args, STARTED + args.minutes * 60 - RESERVE_S[args.device])
    model.train()
    with patched(model):
        trainer.run()
    log(f"trained {trainer.steps} steps, {trainer.tokens / 1e6:.1f}M tokens")
    save(model, tokenizer, args.out)
    log(f"saved {args.out}")
    report(model, tokenizer, data, trainer, args.out)


if __name__ == "__main__":
    main()
