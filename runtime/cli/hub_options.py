"""How a model on a hub is named, the same for every command. What is fetched lies in hub_models.py."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class FromHub:
    """What a command line says of it; None: nothing."""

    repo: str | None = None
    file: str | None = None
    token: str | None = None
    offline: bool = False


_DECLARED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {  # by llama-server's environment variables
    "LLAMA_ARG_HF_REPO": (
        ("-hf", "-hfr", "--hf-repo", "hf_repo"),
        {"metavar": "USER/REPO[:QUANT]", "help": "A model from a hub; without QUANT Q4_K_M or the nearest."},
    ),
    "LLAMA_ARG_HF_FILE": (
        ("-hff", "--hf-file", "hf_file"),
        {"metavar": "FILE", "help": "That file of the repository."},
    ),
    "HF_TOKEN": (
        ("-hft", "--hf-token", "hf_token"),
        {"metavar": "TOKEN", "help": "For what is not public [default: HF_TOKEN]."},
    ),
    "LLAMA_ARG_OFFLINE": (
        ("--offline",),
        {"is_flag": True, "help": "Use what was fetched before, and no network."},
    ),
}
OPTIONS = tuple(click.option(*names, **how) for names, how in _DECLARED.values())
_, FILE, TOKEN, OFFLINE = OPTIONS


def hub_options(option: Callable[..., Any]) -> list[Any]:
    """The same for a server, of which each may stand in an environment variable, which option() takes as env."""
    return [option(*names, env=env, **how) for env, (names, how) in _DECLARED.items()]


def from_hub(values: dict[str, Any]) -> FromHub:
    """Takes the options out of a command's values; UsageError where one lacks what it is about."""
    names = ("hf_repo", "hf_file", "hf_token", "offline")
    made = FromHub(*(values.pop(name) for name in names))
    if made.file is not None and made.repo is None:
        raise click.UsageError("--hf-file: of which repository? -hf user/repo says so")
    return made


def with_hub(function: Any) -> Any:
    """A decorator: the function gets what the options say as `hub`."""

    def called(**values: Any) -> Any:
        return function(hub=from_hub(values), **values)

    called.__doc__ = function.__doc__
    called.__click_params__ = getattr(function, "__click_params__", [])  # pyright: ignore[reportFunctionMemberAccess]
    for add in reversed(OPTIONS):
        called = add(called)
    return called
