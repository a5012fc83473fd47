"""What the default command was given, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..text.grammar import Grammar
from .cache_options import default_cache_types
from .chat_options import ChatOptions
from .hub_options import FromHub


@dataclass(frozen=True)
class RunOptions:
    """The command line as it was given; None is "not given" where that makes a difference."""

    words: tuple[str, ...] = ()
    model: str | None = None
    hub: FromHub = field(default_factory=FromHub)
    grammar: Grammar | None = None
    prompt: str | None = None
    file: str | None = None
    predict: int | None = None
    ctx_size: int | None = None
    cache_ram: int | None = None
    prompt_cache: str | None = None
    prompt_cache_ro: bool = False
    swa_full: bool = False
    cache_types: Mapping[str, str] = field(default_factory=default_cache_types)  # keywords of load()
    seed: int = -1
    temp: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    reverse_prompt: tuple[str, ...] = ()
    system_prompt: str | None = None
    system_prompt_file: str | None = None
    conversation: bool | None = None
    chat: ChatOptions = field(default_factory=ChatOptions)
    single_turn: bool = False
    ignore_eos: bool = False
    escape: bool | None = None
    display_prompt: bool = True
    backend: str | None = None
    device: str | None = None
    opt: int = 3
    stats: bool = False
    verbose: bool = False
    without_effect: tuple[str, ...] = ()  # options of llama.cpp's that change nothing here, each with the reason
