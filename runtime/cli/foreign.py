"""llama.cpp's options that vkrun does not have: those that ask for nothing different are taken, the others answered.

A command line of llama.cpp's then runs as it is, unless it would have given another answer there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Takes(Enum):
    """What stands behind an option."""

    NOTHING = "nothing"
    VALUE = "a value"
    SWITCH = "on, off or auto, or nothing"


SWITCH_VALUES = frozenset({"on", "off", "auto", "0", "1", "true", "false", "enabled", "disabled"})


@dataclass(frozen=True)
class Foreign:
    """An option's answer. takes None: it is refused. values: those that ask for nothing different; empty: all."""

    why: str
    takes: Takes | None = None
    values: frozenset[str] = frozenset()


_DEVICE = "the whole model runs on the device"
_FILES = "models are local files, or named with -hf"
_READ = "files are read and never mapped, and no copy stays in memory"
_ONE = "a model runs on one device, see --device"
_TURNS = "one answer at a time"
_SHIFT = "a recurrent state cannot be shifted"
_TEMPLATE = "chat templates are rendered by Jinja"
_LOG = "there is no log, see -v and VKRUN_DEBUG"
_SAMPLERS = "there is temperature, top-k, top-p, min-p and the penalties"
_LATER = "see --help for what there is"

_FLAGS = {
    _DEVICE: "-kvo --kv-offload --op-offload --no-host",
    _READ: "--mlock --mmap --no-mmap -dio --direct-io -ndio --no-direct-io",
    _TEMPLATE: "--jinja",
    _SHIFT: "--no-context-shift",
    _LOG: "--log-disable --log-prefix --no-log-prefix --log-timestamps --no-log-timestamps",
    "the first step is like any other": "--warmup --no-warmup",
    "plain lines are written": "--simple-io",
    "--stats prints timings": "--perf --no-perf",
    "requests share a batch where there are several": "-cb --cont-batching -nocb --no-cont-batching -kvu --kv-unified "
    "-no-kvu --no-kv-unified",
    "all that was read is kept": "--prompt-cache-all",
    "weights are packed as the kernels want them": "--repack -nr --no-repack",
}
_SWITCHES = {
    "attention is always fused where the backend can": "-fa --flash-attn",
    "nothing is coloured": "-co --color",
    _LOG: "--log-colors",
    "what does not fit is refused with what would": "-fit --fit",
}
_VALUES = {
    _DEVICE: "-ngl --gpu-layers --n-gpu-layers",
    "the cpu backend chooses its own": "-t --threads -tb --threads-batch -C --cpu-mask -Cr --cpu-range --cpu-strict "
    "--prio --poll --numa -Cb --cpu-mask-batch -Crb --cpu-range-batch --cpu-strict-batch --prio-batch --poll-batch",
    "prompts run in chunks of planned sizes": "-b --batch-size -ub --ubatch-size",
    _LOG: "-lv --verbosity --log-verbosity",
}
# why, the options, the values that change nothing
_SOME_VALUES = (
    (_ONE, "-sm --split-mode", "none layer"),
    (_ONE, "-mg --main-gpu", "0"),
    (_TURNS, "-np --parallel -ns --sequences", "1"),
    (_SHIFT, "--keep", "0"),
    (_SAMPLERS, "--mirostat --xtc-probability --dry-multiplier --dynatemp-range", "0 0.0"),
    (_SAMPLERS, "--typical --tfs", "1 1.0"),
    (_SAMPLERS, "--top-nsigma --top-n-sigma", "-1 -1.0"),
)
_REFUSED = {
    _DEVICE: "-ot --override-tensor -cmoe --cpu-moe -ncmoe --n-cpu-moe -nkvo --no-kv-offload --no-op-offload",
    _ONE: "-ts --tensor-split --rpc",
    _FILES: "-hfv -hffv -mu --model-url -dr --docker-repo",
    _TEMPLATE: "--no-jinja",
    _SHIFT: "--context-shift -gan --grp-attn-n -gaw",
    "positions are taken as the file says": "--rope-scaling --rope-scale --rope-freq-base --rope-freq-scale "
    "--yarn-orig-ctx --yarn-ext-factor --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast",
    _SAMPLERS: "--samplers --sampling-seq --sampler-seq --mirostat-lr --mirostat-ent --xtc-threshold --dry-base "
    "--dry-allowed-length --dry-penalty-last-n --dry-sequence-breaker --dynatemp-exp -l --logit-bias",
    _LOG: "--log-file",
    _LATER: "--lora --lora-scaled --control-vector -md --model-draft --draft --draft-max --draft-min --mmproj --image "
    "-bf --binary-file -i --interactive -if --interactive-first -mli "
    "--multiline-input --in-prefix --in-suffix -sp --special --check-tensors --override-kv --verbose-prompt "
    "--host --port",
}


def table(answers: Mapping[str, str], takes: Takes | None = None, values: str = "") -> dict[str, Foreign]:
    """{why: options} as {option: its answer}."""
    allowed = frozenset(values.split())
    return {name: Foreign(why, takes, allowed) for why, names in answers.items() for name in names.split()}


FOREIGN: Mapping[str, Foreign] = {
    **table(_REFUSED),
    **table(_FLAGS, Takes.NOTHING),
    **table(_SWITCHES, Takes.SWITCH),
    **table(_VALUES, Takes.VALUE),
    **{
        name: answer
        for why, names, values in _SOME_VALUES
        for name, answer in table({why: names}, Takes.VALUE, values).items()
    },
}
