"""What keys and values are kept as, as options: the same for every command that loads a model."""

from collections.abc import Callable
from typing import Any

import click

from ..arguments import CACHE_TYPES, DEFAULT_CACHE_TYPE

NAMES = ("cache_type_k", "cache_type_v")
_OF = {"k": "keys", "v": "values"}
_TEXT = "What {} are cached as: {}; by itself f16 where a GPU runs quantised weights, else f32."


def text_of(letter: str) -> str:
    return _TEXT.format(_OF[letter], " or ".join(CACHE_TYPES))


def cache_options(option: Callable[..., Any] = click.option, **of_each: dict[str, Any]) -> list[Any]:
    """of_each: more that the option of "k" or "v" is told."""
    return [
        option(
            *(f"-ct{letter}", f"--cache-type-{letter}", name),
            type=click.Choice((*CACHE_TYPES, DEFAULT_CACHE_TYPE)),
            default=DEFAULT_CACHE_TYPE,
            metavar="TYPE",
            help=text_of(letter),
            **of_each.get(letter, {}),
        )
        for letter, name in zip("kv", NAMES, strict=True)
    ]


def default_cache_types() -> dict[str, str]:
    return dict.fromkeys(NAMES, DEFAULT_CACHE_TYPE)


def taken_cache_types(values: dict[str, Any]) -> dict[str, Any]:
    """Takes the options out of a command's values: keywords of load()."""
    return {name: values.pop(name) for name in NAMES}
