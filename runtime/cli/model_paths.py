"""Which file is the model, and whether it is one, before anything else is done."""

from importlib import import_module

import click

from .. import models
from ..errors import VkrunError
from ..gguf.file import GGUFFile
from ..model import BUNDLED
from ..text.tokenizer import tokenizer_from_gguf
from .hub_options import FromHub
from .screen import one_line


def model_path(named: str | None, hub: FromHub, usage: str) -> str:
    """The file that a command line means: one from a hub, fetched where need be, else that named, else the bundled."""
    if hub.repo:
        if named not in (None, hub.repo):
            raise click.UsageError(f"{one_line(named or '')} and -hf {one_line(hub.repo)}: two models; name one")
        return import_module(".hub_models", __package__).fetched(hub)
    return bundled(usage) if named is None else named


def bundled(usage: str) -> str:
    """The path of the model in the package; `usage` says how another one is named."""
    if not BUNDLED.exists():
        raise VkrunError(f"{BUNDLED}: the bundled model is missing; name a model: {usage}")
    return str(BUNDLED)


def check_model(path: str) -> None:
    """Raises what load() would for a file that is no model vkrun runs. Touches no device."""
    with GGUFFile.open(path) as f:
        tokenizer_from_gguf(f.keys, models.open_model(f, models.Capacity(1)).params.n_vocab)
