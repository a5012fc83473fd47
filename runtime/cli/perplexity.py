"""`vkrun perplexity`: how likely a model finds a text, how far it is from another, as llama-perplexity counts it."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, BinaryIO, ClassVar

import click
import numpy as np

from ..errors import UsageError, VkrunError
from ..model import Model, load
from ..perplexity import base_file, lines, scores
from .cache_options import cache_options, taken_cache_types
from .eager_options import EAGER
from .foreign import FOREIGN, Takes, table
from .hub_options import OPTIONS as HUB_OPTIONS
from .hub_options import from_hub
from .model_paths import check_model, model_path
from .progress import Bar
from .ranges import Whole
from .screen import note
from .spelling import SpeltCommand, spelt_command, without_effect
from .texts import file_text

N_CTX = 512
_DRAWS_NOTHING = (
    "-s --seed --temp --temperature --top-k --top-p --min-p --repeat-last-n --repeat-penalty --presence-penalty "
    "--frequency-penalty --samplers --sampler-seq --sampling-seq -l --logit-bias -n --predict --n-predict"
)
_ONE_MEASURE = (
    "--hellaswag --hellaswag-tasks --winogrande --winogrande-tasks --multiple-choice --multiple-choice-tasks "
    "--chunk --from-chunk"
)


class PerplexityCommand(SpeltCommand):
    """llama-perplexity's own beside those that other commands answer."""

    foreign: ClassVar = {
        **FOREIGN,
        **table({"no token is drawn": _DRAWS_NOTHING}, Takes.VALUE),
        **table({"no token is drawn": "--ignore-eos"}, Takes.NOTHING),
        **table({"texts are taken as they are": "--no-escape"}, Takes.NOTHING),
        **table({"chunks are measured as by default": "--ppl-stride --ppl-output-type"}, Takes.VALUE, "0"),
        **table({"there is perplexity and --kl-divergence": _ONE_MEASURE}),
    }


_OPTIONS = [
    click.argument("word", metavar="[MODEL.gguf]", required=False),
    click.option("-m", "--model", metavar="FILE", help="Model file; the bundled model when there is none."),
    *HUB_OPTIONS,
    click.option("-f", "--file", metavar="FILE", help="The text, from a file."),
    click.option("-p", "--prompt", metavar="TEXT", help="The text itself."),
    click.option("-c", "--ctx-size", "n_ctx", type=Whole(3, 1 << 20), metavar="N",
                 help=f"Tokens of a chunk; those of its second half are counted [default: {N_CTX}]."),
    click.option("--chunks", type=Whole(-1), default=-1, metavar="N", help="Most chunks; -1: all."),
    click.option("-b", "--batch-size", "n_batch", type=Whole(1, 1 << 20), metavar="N",
                 help="Most tokens of a step [default: as suits the device]."),
    click.option("--kl-divergence-base", "--save-all-logits", "base", metavar="FILE",
                 help="Save log-probabilities there, in llama.cpp's format; with --kl-divergence read them."),
    click.option("--kl-divergence", is_flag=True, help="How far the model is from what was saved."),
    *cache_options(),
    click.option("--backend", metavar="NAME", help="vulkan, cuda, kompute, cpu or host [default: the best there is]."),
    click.option("-dev", "--device", metavar="DEVICE", help="Index, UUID or part of the name; see `vkrun devices`."),
    click.option("--opt", type=Whole(0, 3), default=3, show_default=True, help="How lean the graph is made."),
    click.option("-v", "--verbose", is_flag=True, help="Say which options change nothing here."),
    *EAGER,
]  # fmt: skip


@click.pass_context
def _run(
    ctx: click.Context, /, word: str | None, model: str | None, file: str | None, prompt: str | None, n_ctx: int | None,
    chunks: int, n_batch: int | None, base: str | None, kl_divergence: bool, backend: str | None, device: str | None,
    opt: int, verbose: bool, **values: Any,
) -> None:  # fmt: skip
    """Measure the perplexity of a text, or the divergence from another model's saved probabilities.

    The text is cut into chunks, each read by itself; the tokens of its second half are counted.
    """
    if word is not None and model is not None:
        raise click.UsageError(f"{word} and {model}: two models; one is measured at a time")
    for line in without_effect(ctx) if verbose else ():
        note(line)
    types = taken_cache_types(values)
    path = model_path(word if model is None else model, from_hub(values), "vkrun perplexity MODEL.gguf")
    if kl_divergence and base is None:
        raise click.UsageError("--kl-divergence: from what? --kl-divergence-base FILE, which a run without it saves")
    text = "" if kl_divergence else _text(file, prompt)
    check_model(path)

    def opened(n: int) -> Model:
        with Bar() as bar:
            return load(path, backend, device, n, opt=opt, progress=bar, n_ubatch=n_batch, **types)

    if kl_divergence:
        _diverge(opened, base or "", n_ctx, chunks)
    else:
        with closing(opened(n_ctx or N_CTX)) as loaded:
            _measure(loaded, text, n_ctx or N_CTX, chunks, base)


def _text(file: str | None, prompt: str | None) -> str:
    if (file is None) == (prompt is None):
        raise click.UsageError("no text: -f FILE" if file is None else "-f and -p: the text comes from one place only")
    return file_text(file) if file is not None else prompt or ""


def _measure(model: Model, text: str, n_ctx: int, n_most: int, base: str | None) -> None:
    tokens = scores.chunks_of(model.tokenize(text, special=False), n_ctx, n_most)
    note(f"perplexity: calculating perplexity over {len(tokens)} chunks, n_ctx={n_ctx}")
    seen = np.zeros(0)
    with _written(base) as out:
        _write(out, base_file.head_of(tokens, model.info.n_vocab))
        for i, (chunk, logits) in enumerate(_logits(model, tokens)):
            _write(out, base_file.pack(logits).tobytes() if out else b"")
            seen = np.concatenate([seen, scores.nll(scores.log_softmax(logits), _targets(chunk))])
            click.echo(lines.running(i, seen), nl=False)
    click.echo(f"\n{lines.final(seen)}")


def _diverge(opened: Any, base: str, n_ctx: int | None, n_most: int) -> None:
    with base_file.Base.open(base) as saved:
        n_saved = saved.tokens.shape[1]
        if n_ctx is not None and n_ctx != n_saved:
            raise UsageError(f"-c {n_ctx}: {base} was saved with chunks of {n_saved}")
        with closing(opened(n_saved)) as model:
            if model.info.n_vocab != saved.n_vocab:
                raise VkrunError(f"{base}: {saved.n_vocab} logits a token, but the model has {model.info.n_vocab}")
            made = scores.Divergence()
            click.echo(lines.HEAD)
            tokens = saved.tokens if n_most < 0 else saved.tokens[:n_most]
            for i, (chunk, logits) in enumerate(_logits(model, tokens)):
                made.add(logits, saved.next_chunk(), _targets(chunk))
                click.echo(lines.row(i, made))
    click.echo("\n" + "\n".join(lines.statistics(made)))


def _logits(model: Model, tokens: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each chunk and the logits that are counted, float32 [n_counted, n_vocab]; says how long it will take."""
    n_ctx = tokens.shape[1]
    vocab = model.tokenizer.vocab
    for i, chunk in enumerate(tokens):
        start, ids = time.perf_counter(), chunk.tolist()
        if vocab.add_bos and vocab.bos_id is not None:
            ids[0] = vocab.bos_id
        logits = model.logits(ids)[n_ctx // 2 : n_ctx - 1]
        if i == 0:
            seconds = time.perf_counter() - start
            note(f"perplexity: {seconds:.2f} seconds per pass - ETA {seconds * len(tokens) / 60:.2f} minutes")
        yield chunk, logits


def _targets(chunk: np.ndarray) -> np.ndarray:
    return chunk[len(chunk) // 2 + 1 :]


@contextmanager
def _written(path: str | None) -> Iterator[BinaryIO | None]:
    """A file to write, None for none; VkrunError for what a disk says."""
    if path is None:
        yield None
        return
    try:
        with open(path, "wb") as file:
            yield file
    except OSError as error:
        raise VkrunError(f"{path}: cannot write: {error.strerror}") from None


def _write(out: BinaryIO | None, data: bytes) -> None:
    if out is not None:
        out.write(data)


command = spelt_command("perplexity", _run, _OPTIONS, PerplexityCommand)
