"""How options may be written: llama.cpp's habits, which click would read otherwise.

click takes an unknown `-ngl33` for bundled short flags. So the words are gone through before click sees them: attached
numbers (`-c4096`, `-n32`) are cut off, llama.cpp options that vkrun has no use for are answered, typing errors too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import ClassVar

import click

_DEVICE = "the whole model runs on the device"
_FILES = "models are read from local files"
_CACHE = "the cache is float32"
_BATCH = "prompts run in chunks of planned sizes"
_READ = "files are read and never mapped, and no copy stays in memory"
_ONE = "a model runs on one device, see --device"
_LATER = "see --help for what there is"

# why not -> the spellings it answers
_ANSWERS = {
    _DEVICE: "-ngl --gpu-layers --n-gpu-layers -ot --override-tensor -cmoe --cpu-moe -ncmoe --n-cpu-moe -nkvo "
    "--no-kv-offload --no-op-offload",
    "the cpu backend chooses its own": "-t --threads -tb --threads-batch -C --cpu-mask -Cr --cpu-range --cpu-strict "
    "--prio --poll --numa",
    _BATCH: "-b --batch-size -ub --ubatch-size",
    _CACHE: "-ctk --cache-type-k -ctv --cache-type-v",
    "attention is always fused where the backend can": "-fa --flash-attn",
    _READ: "--mlock --mmap --no-mmap -dio --direct-io",
    _ONE: "-sm --split-mode -mg --main-gpu -ts --tensor-split --rpc",
    _FILES: "-hf -hfr --hf-repo -hff --hf-file -hft --hf-token -hfv -mu --model-url -dr --docker-repo --offline",
    "one answer at a time": "-np --parallel -ns --sequences -cb --cont-batching",
    "the file's own chat template is used": "--chat-template --chat-template-file --jinja --no-jinja "
    "--chat-template-kwargs --reasoning-format --reasoning-budget",
    "a recurrent state cannot be shifted": "--keep --context-shift --no-context-shift -gan --grp-attn-n -gaw",
    "positions are taken as the file says": "--rope-scaling --rope-scale --rope-freq-base --rope-freq-scale "
    "--yarn-orig-ctx --yarn-ext-factor --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast",
    "there is temperature, top-k, top-p, min-p and the penalties": "--samplers --sampling-seq --typical --tfs "
    "--mirostat --mirostat-lr --mirostat-ent --xtc-probability --xtc-threshold --dry-multiplier --dry-base "
    "--dry-allowed-length --dry-penalty-last-n --dry-sequence-breaker --dynatemp-range --dynatemp-exp "
    "--top-nsigma --top-n-sigma -l --logit-bias --grammar --grammar-file -j --json-schema",
    _LATER: "--lora --lora-scaled --control-vector -md --model-draft --draft --draft-max --draft-min --mmproj --image "
    "--prompt-cache --prompt-cache-all -bf --binary-file -i --interactive -if --interactive-first -mli "
    "--multiline-input --in-prefix --in-suffix -sp --special -co --color --simple-io --check-tensors --override-kv "
    "--no-warmup --warmup --perf --no-perf --log-disable --log-file -lv --verbosity --host --port",
}
UNSUPPORTED = {name: why for why, names in _ANSWERS.items() for name in names.split()}

_ATTACHED = re.compile(r"(-[A-Za-z]+?)(-?[0-9][0-9.]*)\Z")


def normalise(
    words: Sequence[str], options: Mapping[str, bool], unsupported: Mapping[str, str] = UNSUPPORTED
) -> list[str]:
    """The words with every option apart from its value. `options`: spelling -> whether it takes a value; what they hold
    is none of `unsupported`.

    Raises click's UsageError for options that vkrun does not support or know.
    """
    out: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*out, word, *rest]
        is_option = len(word) > 1 and word.startswith("-")
        out += _option(word, rest, options, unsupported) if is_option else [word]
    return out


def _option(word: str, rest: Iterator[str], options: Mapping[str, bool], unsupported: Mapping[str, str]) -> list[str]:
    known = {*options, *unsupported}
    name, equals, value = word.partition("=")
    match = None if name in known else _ATTACHED.match(word)
    if match and match[1] in known:
        name, equals, value = match[1], "=", match[2]
    if name not in options and name in unsupported:
        raise click.UsageError(f"{name}: not supported by vkrun ({unsupported[name]})")
    if name not in options:
        close = get_close_matches(name, options, n=1, cutoff=0.5)
        raise click.UsageError(f"no option {name}" + (f"; did you mean {close[0]}?" if close else ", see vkrun --help"))
    if not options[name]:
        return [word]
    if equals:
        return [name, value]
    return [name, *([following] if (following := next(rest, None)) is not None else [])]


class SpeltCommand(click.Command):
    """A command whose options are written as llama.cpp's; those of `unsupported` are answered with the reason."""

    unsupported: ClassVar[Mapping[str, str]] = UNSUPPORTED

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {
            name: isinstance(p, click.Option) and not (p.is_flag or p.count)
            for p in self.get_params(ctx)
            if isinstance(p, click.Option)
            for name in (*p.opts, *p.secondary_opts)
        }
        return super().parse_args(ctx, normalise(args, options, self.unsupported))
