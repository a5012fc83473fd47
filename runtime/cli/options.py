"""The default command: its options in llama.cpp's spellings. What it does lies in run.py, imported when it runs."""

from importlib import import_module
from typing import Any

import click

from .cache_options import cache_options, taken_cache_types
from .chat_options import OPTIONS as CHAT_OPTIONS
from .chat_options import from_values
from .eager_options import EAGER
from .grammar_options import OPTIONS as GRAMMAR_OPTIONS
from .grammar_options import from_grammar
from .hub_options import OPTIONS as HUB_OPTIONS
from .hub_options import from_hub
from .ranges import Whole
from .run_options import RunOptions
from .sampling_options import LOGIT_BIAS, SAMPLING, taken_biases, taken_sampling
from .spelling import spelt_command, without_effect


def _option(*names: str, **kw: Any) -> Any:
    return click.option(*names, **kw)


_OPTIONS = [
    click.argument("words", nargs=-1, metavar="[MODEL.gguf] [PROMPT]"),
    _option("-m", "--model", metavar="FILE", help="Model file; the bundled model when there is none."),
    *HUB_OPTIONS,
    _option("-p", "--prompt", metavar="TEXT", help="Text to go on from."),
    _option("-f", "--file", metavar="FILE", help="Read the prompt from a file."),
    _option(
        *("-n", "--predict", "--n-predict", "predict"),
        type=Whole(-2),
        metavar="N",
        help="Most tokens to make; -1: until the model ends or the context is full [default: -1; bundled model: 256].",
    ),
    _option(
        *("-c", "--ctx-size", "ctx_size"),
        type=Whole(0, 1 << 24),
        metavar="N",
        help="Tokens of context; 0: as many as the model was trained on [default: 4096, or as many as fit].",
    ),
    _option(
        *("-cram", "--cache-ram", "cache_ram"),
        type=Whole(-1, 1 << 30),
        metavar="N",
        help="MiB of the host's memory for what earlier prompts left and the device has no room for; 0: none, -1: no "
        "limit [default: 8192, at most a quarter of what is free].",
    ),
    _option("--prompt-cache", metavar="FILE", help="Go on from what FILE holds of an earlier run, and write it anew."),
    _option("--prompt-cache-ro", is_flag=True, help="Leave that file as it is."),
    _option("--swa-full", is_flag=True, help="Caches of layers with a window hold the whole context."),
    *cache_options(),
    *SAMPLING,
    LOGIT_BIAS,
    _option("-r", "--reverse-prompt", multiple=True, metavar="TEXT", help="Stop before this text (repeatable)."),
    *GRAMMAR_OPTIONS,
    _option("-sys", "--system-prompt", metavar="TEXT", help="System message; the model's chat format is used."),
    _option("-sysf", "--system-prompt-file", metavar="FILE", help="Likewise, from a file."),
    _option(
        *("-cnv/-no-cnv", "--conversation/--no-conversation", "conversation"),
        default=None,
        help="Chat, or complete text [default: chat when there is no prompt].",
    ),
    _option("-st", "--single-turn", is_flag=True, help="One answer in the chat format, then leave."),
    *CHAT_OPTIONS,
    _option("--ignore-eos", is_flag=True, help="Go on after end tokens."),
    _option(
        *("-e", "--escape/--no-escape", "escape"),
        default=None,
        help=r"Read \n, \t, \\, \xHH ... in texts on the command line [default] and, with -e, in -f and stdin too.",
    ),
    _option("--display-prompt/--no-display-prompt", default=True, help="Print the prompt before its completion."),
    _option("--backend", metavar="NAME", help="vulkan, cuda, kompute, cpu or host [default: the best there is]."),
    _option("-dev", "--device", metavar="DEVICE", help="Index, UUID or part of the name; see `vkrun devices`."),
    _option("--opt", type=Whole(0, 3), default=3, show_default=True, help="How lean the graph is made."),
    _option(
        *("--stats/--no-stats", "--show-timings/--no-show-timings", "stats"),
        default=False,
        help="Print timings at the end.",
    ),
    _option("-v", "--verbose", is_flag=True, help="Say what is loaded and where."),
    *EAGER,
]

_HELP = """Run a GGUF language model on a Vulkan device.

A first word that neither ends in .gguf nor names a file is a prompt for the bundled model. A pipe on stdin is the
prompt where none is given. Without a prompt, on a terminal, you chat.
"""


def make_command(epilog: str) -> click.Command:
    @click.pass_context
    def invoke(ctx: click.Context, /, **values: Any) -> int:
        hub, chat, grammar = from_hub(values), from_values(values), from_grammar(values)
        types, biases = taken_cache_types(values), taken_biases(values)
        values |= taken_sampling(values) | {"logit_bias": biases, "without_effect": without_effect(ctx)}
        options = RunOptions(hub=hub, cache_types=types, chat=chat, grammar=grammar, **values)
        return import_module(".run", __package__).run(options)

    return spelt_command("vkrun", invoke, _OPTIONS, help=_HELP, epilog=epilog)
