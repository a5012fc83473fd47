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

    def allows(self, value: str | None) -> bool:
        """Does the option, with this value behind it, ask for nothing different? Numbers may be written in any way."""
        if self.takes is None:
            return False
        return not self.values or value in self.values or _number(value) in set(map(_number, self.values)) - {None}


_DEVICE = "the whole model runs on the device"
_FILES = "models are local files, or named with -hf"
_READ = "files are read and never mapped, and no copy stays in memory"
_ONE = "a model runs on one device, see --device"
_TURNS = "one answer at a time"
_SHIFT = "a recurrent state cannot be shifted"
_TEMPLATE = "chat templates are rendered by Jinja"
_LOG = "there is no log, see -v and VKRUN_DEBUG"
_SAMPLERS = "there is temperature, top-k, top-p, min-p and the penalties"
_OFF = "it counts with a sampler that is off"
_DRAFTS = "no tokens are drafted; leave it out, the answers are the same"
_UNDRAFTED = "it counts with a draft, and no tokens are drafted"
_FITS = "what does not fit is refused with what would"
_CHECKPOINTS = "checkpoints are kept where prompts will need them, see --cache-ram"
_TEXT = "text alone is read"
_POSITIONS = "positions are taken as the file says"
_CHATS = "-cnv chats"
_WEIGHTS = "weights are taken as the file holds them"
_LATER = "see --help for what there is"

_FLAGS = {
    _DEVICE: "-kvo --kv-offload -nkvo --no-kv-offload --op-offload --no-op-offload --no-host -cmoe --cpu-moe",
    _READ: "--mlock --mmap --no-mmap -dio --direct-io -ndio --no-direct-io",
    _TEMPLATE: "--jinja",
    _SHIFT: "--no-context-shift",
    _LOG: "--log-disable --log-prefix --no-log-prefix --log-timestamps --no-log-timestamps --log-jsonl --no-log-jsonl "
    "--verbose-prompt --log-verbose",
    _TEXT: "--no-mmproj --no-mmproj-auto --mmproj-auto --mmproj-offload --no-mmproj-offload",
    _UNDRAFTED: "-cmoed --cpu-moe-draft",
    "the first step is like any other": "--warmup --no-warmup",
    "plain lines are written": "--simple-io",
    "--stats prints timings": "--perf --no-perf",
    "requests share a batch where there are several": "-cb --cont-batching -nocb --no-cont-batching -kvu --kv-unified "
    "-no-kvu --no-kv-unified",
    "all that was read is kept": "--prompt-cache-all",
    "weights are packed as the kernels want them": "--repack -nr --no-repack",
    "tokens are drawn on the device where they can be": "-bs --backend-sampling",
}
_SWITCHES = {
    "attention is always fused where the backend can": "-fa --flash-attn",
    "nothing is coloured": "-co --color",
    _LOG: "--log-colors",
    _FITS: "-fit --fit",
}
_VALUES = {
    _DEVICE: "-ngl --gpu-layers --n-gpu-layers -ot --override-tensor -ncmoe --n-cpu-moe -ncffn --n-cpu-ffn "
    "--moe-cache-mib",
    _ONE: "-sm --split-mode -ts --tensor-split",
    "the cpu backend chooses its own": "-t --threads -tb --threads-batch -C --cpu-mask -Cr --cpu-range --cpu-strict "
    "--prio --poll --numa -Cb --cpu-mask-batch -Crb --cpu-range-batch --cpu-strict-batch --prio-batch --poll-batch",
    "prompts run in chunks of planned sizes": "-b --batch-size -ub --ubatch-size",
    "keys lie where they were written": "-dt --defrag-thold",
    _READ: "-lm --load-mode -lzm --lazy-mode",
    _FITS: "-fitt --fit-target -fitc --fit-ctx",
    _LOG: "-lv --verbosity --log-verbosity",
    "--stats prints timings": "-ptc --print-token-count",
    _CHECKPOINTS: "-ctxcp --ctx-checkpoints --swa-checkpoints -cms --checkpoint-min-step -cpent",
    _OFF: "--xtc-threshold --dry-base --dry-allowed-length --dry-penalty-last-n --dry-sequence-breaker --dynatemp-exp "
    "--mirostat-lr --mirostat-ent --adaptive-decay",
    _UNDRAFTED: "--draft --draft-n --draft-max --draft-min --draft-n-min --draft-p-min --draft-p-split -cd "
    "--ctx-size-draft -devd --device-draft -ngld --gpu-layers-draft --n-gpu-layers-draft -ctkd --cache-type-k-draft "
    "--spec-draft-type-k -ctvd --cache-type-v-draft --spec-draft-type-v -td --threads-draft -tbd "
    "--threads-batch-draft -otd --override-tensor-draft -ncmoed --n-cpu-moe-draft --spec-replace",
}
# why, the options, the values that change nothing
_SOME_VALUES = (
    (_ONE, "-mg --main-gpu", "0"),
    (_TURNS, "-np --parallel -ns --sequences", "1"),
    (_SHIFT, "--keep", "0"),
    (_SHIFT, "-gan --grp-attn-n", "1"),
    (_SAMPLERS, "--mirostat --xtc-probability --dry-multiplier --dynatemp-range", "0"),
    (_SAMPLERS, "--typical --typical-p --tfs", "1"),
    (_SAMPLERS, "--top-nsigma --top-n-sigma --adaptive-target", "-1"),
    (_POSITIONS, "--rope-freq-base --rope-freq-scale --rope-scale --yarn-orig-ctx", "0"),
    (_POSITIONS, "--yarn-ext-factor --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast", "-1"),
    (_DRAFTS, "--spec-type", "none"),
)
_REFUSED = {
    _ONE: "--rpc -rpc",
    _FILES: "-hfv -hfrv --hf-repo-v -hffv --hf-file-v -mu --model-url -dr --docker-repo",
    "vkrun list tells what was fetched": "-cl --cache-list",
    _TEMPLATE: "--no-jinja",
    _SHIFT: "--context-shift -gaw --grp-attn-w",
    _POSITIONS: "--rope-scaling",
    _LOG: "--log-file",
    _DRAFTS: "-md --model-draft -hfd -hfrd --hf-repo-draft -lcs --lookup-cache-static -lcd --lookup-cache-dynamic",
    _TEXT: "-mm --mmproj -mmu --mmproj-url --image --audio --video -bf --binary-file",
    _WEIGHTS: "--lora --lora-scaled --lora-init-without-apply --control-vector --control-vector-scaled "
    "--control-vector-layer-range --override-kv --check-tensors",
    _CHATS: "-i --interactive -if --interactive-first",
    '""" begins a message of several lines': "-mli --multiline-input",
    "the chat format says what stands around a message": "--in-prefix --in-prefix-bos --in-suffix",
    "marks of the chat format are not shown": "-sp --special",
    _LATER: "--completion-bash --spm-infill --host --port",
}


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


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
