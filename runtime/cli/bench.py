"""`vkrun bench`: llama-bench's options and tables, the ladder of levels, what replay is worth, profiles."""

import os
from collections.abc import Callable
from typing import Any, ClassVar

import click

from ..arguments import CACHE_TYPES, DEFAULT_CACHE_TYPE
from ..bench.ranges import numbers, pairs, words
from ..bench.session import Session
from ..bench.settings import Wanted
from ..bench.tune import tune
from ..model import MAX_SEQS
from .cache_options import text_of
from .eager_options import EAGER
from .foreign import FOREIGN, Takes, table
from .hub_options import OPTIONS as HUB_OPTIONS
from .hub_options import from_hub
from .model_paths import check_model, model_path
from .progress import Bar
from .ranges import Whole
from .screen import note
from .spelling import SpeltCommand, spelt_command, without_effect

MAX_TOKENS = 1 << 20
FORMATS = ("md", "csv", "json", "jsonl")

_REFUSED = {
    "measured as the device runs by default": "--delay --defer-experts -fitt --fit-target -fitc --fit-ctx",
    "the whole model runs on the device": "-ot --override-tensor -cmoe --cpu-moe",
    "the model's own head is always run": "-embd --embeddings",
}
_TAKEN = {
    "files are read and never mapped, and no copy stays in memory": "-mmp --mmap -dio --direct-io",
    "attention is always fused where the backend can": "-fa --flash-attn",
}
_ON_DEVICE = {
    "the whole model runs on the device": "-nkvo --no-kv-offload -nopo --no-op-offload --no-host "
    "-ncmoe --n-cpu-moe -ncffn --n-cpu-ffn --moe-cache-mib"
}


class BenchCommand(SpeltCommand):
    """llama-bench's options, of which some that are flags elsewhere take 0 or 1."""

    foreign: ClassVar = {
        **FOREIGN,
        **table(_REFUSED),
        **table(_TAKEN, Takes.VALUE),
        **table(_ON_DEVICE, Takes.VALUE, "0"),
    }
    lists: ClassVar = True


def _many(*names: str, default: str, text: str) -> Callable[[Any], Any]:
    """An option of llama-bench that takes lists and ranges and may be repeated."""
    shown = f"{text} [default: {default}]"
    return click.option(*names, multiple=True, metavar="LIST", default=(default,), help=shown)


_OPTIONS = [
    click.option("-m", "--model", "models", multiple=True, metavar="FILE", help="Model [default: the bundled one]."),
    *HUB_OPTIONS,
    _many("-p", "--n-prompt", default="512", text="Prompt tokens; 0: none."),
    _many("-n", "--n-gen", default="128", text="Generated tokens; 0: none."),
    click.option("-pg", "n_pg", multiple=True, metavar="P,G", help="A prompt, and generation after it (repeatable)."),
    _many("-d", "--n-depth", default="0", text="Tokens in the context before the test."),
    _many("-b", "--batch-size", "n_batch", default="2048", text="Most prompt tokens handed over at once."),
    _many("-ub", "--ubatch-size", "n_ubatch", default="0", text="Most tokens of a planned step; 0: the device's own."),
    *(_many(f"-ct{x}", f"--cache-type-{x}", f"types_{x}", default=DEFAULT_CACHE_TYPE, text=text_of(x)) for x in "kv"),
    _many("--parallel", "n_seqs", default="1", text="Sequences that generate side by side."),
    _many("--opt", "opts", default="3", text="How lean the graph is made, 0 to 3; with several, their ladder."),
    click.option("--no-replay", is_flag=True, help="Each test also with its graph planned and recorded at every step."),
    click.option("--profile", is_flag=True, help="Device time, bytes and arithmetic of each kernel of a step."),
    click.option("--tune", is_flag=True, help="Measure which kernels suit the device; all its loads use them."),
    click.option("-r", "--repetitions", "n_runs", type=Whole(1, 1000), default=5, show_default=True),
    click.option("--no-warmup", is_flag=True, help="Time the first run too, with its planning."),
    click.option("-o", "--output", "first", type=click.Choice(FORMATS), default="md", show_default=True),
    click.option("-oe", "--output-err", "second", type=click.Choice([*FORMATS, "none"]), default="none",
                 help="To stderr."),
    click.option("-v", "--verbose", is_flag=True, help="Say which options change nothing here."),
    click.option("--progress", is_flag=True, help="Say on stderr what is run."),
    click.option("--backend", metavar="NAME", help="vulkan, cuda, kompute, cpu or host [default: the best there is]."),
    click.option("-dev", "--device", metavar="DEVICE", help="Index, UUID or part of the name; see `vkrun devices`."),
    *EAGER,
]  # fmt: skip


@click.pass_context
def _run(
    ctx: click.Context,
    /,
    models: tuple[str, ...],
    first: str,
    second: str,
    progress: bool,
    verbose: bool,
    **values: Any,
) -> None:
    """Measure tokens a second, as llama-bench does.

    LIST: 1,2,4 or 1-8 or 128-512+128 or 128-2048*2; every combination is run.
    """
    backend, device = values.pop("backend"), values.pop("device")
    tunes, wanted = values.pop("tune"), _wanted(values, (first, second))
    say: Callable[[str], None] = note if progress else lambda _: None
    for line in without_effect(ctx) if verbose else ():
        note(line)
    hub = from_hub(values)
    paths = [path for text in models for path in _paths(text)]
    paths += [model_path(None, hub, "vkrun bench -m MODEL.gguf")] if hub.repo or not paths else []
    for path in paths:
        check_model(path)  # each of them before the first is measured
    with Bar() as bar:
        if tunes:
            tune(paths, backend, device, click.echo, bar)
            return
        Session(wanted, click.echo, lambda text: click.echo(text, err=True), say, bar).run(paths, backend, device)


def _wanted(values: dict[str, Any], formats: tuple[str, str]) -> Wanted:
    return Wanted(
        n_prompt=numbers("-p", values["n_prompt"], 0, MAX_TOKENS),
        n_gen=numbers("-n", values["n_gen"], 0, MAX_TOKENS),
        n_pg=pairs("-pg", values["n_pg"], MAX_TOKENS),
        n_depth=numbers("-d", values["n_depth"], 0, MAX_TOKENS),
        n_batch=numbers("-b", values["n_batch"], 1, MAX_TOKENS),
        n_ubatch=numbers("-ub", values["n_ubatch"], 0, 4096),
        n_seqs=numbers("--parallel", values["n_seqs"], 1, MAX_SEQS),
        types_k=words("-ctk", values["types_k"], (*CACHE_TYPES, DEFAULT_CACHE_TYPE)),
        types_v=words("-ctv", values["types_v"], (*CACHE_TYPES, DEFAULT_CACHE_TYPE)),
        opts=numbers("--opt", values["opts"], 0, 3),
        no_replay=values["no_replay"],
        n_runs=values["n_runs"],
        warmup=not values["no_warmup"],
        profile=values["profile"],
        formats=formats,
    )


def _paths(text: str) -> list[str]:
    """A list of files, unless a file of that very name is there."""
    return [text] if os.path.exists(text) else [part for part in text.split(",") if part]


command = spelt_command("bench", _run, _OPTIONS, BenchCommand)
