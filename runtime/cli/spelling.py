"""How options may be written: llama.cpp's habits, which click would read otherwise.

click takes an unknown `-ngl33` for bundled short flags. So the words are gone through before click sees them: attached
numbers (`-c4096`, `-n32`) are cut off, llama.cpp's options that vkrun does not have are taken or answered (foreign.py),
typing errors are answered too.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar

import click

from .foreign import FOREIGN, SWITCH_VALUES, Foreign, Takes

_ATTACHED = re.compile(r"(-[A-Za-z]+?)(-?[0-9][0-9.]*)\Z")
_META = "vkrun.without_effect"


class Words:
    """Goes through a command line. `out`: the words for click, every option apart from its value; `without_effect`: a
    line for each option that changes nothing here.

    options: spelling -> whether it takes a value; what they hold is none of `foreign`. lists: a value with commas asks
    for one run each. Raises click's UsageError for options that vkrun does not have.
    """

    def __init__(
        self,
        words: Sequence[str],
        options: Mapping[str, bool],
        foreign: Mapping[str, Foreign] = FOREIGN,
        lists: bool = False,
    ) -> None:
        self._options, self._foreign, self._lists = options, foreign, lists
        self._words = list(words)
        self.out: list[str] = []
        self.without_effect: list[str] = []
        while self._words:
            word = self._words.pop(0)
            if word == "--":
                self.out += [word, *self._words]
                return
            if len(word) > 1 and word.startswith("-"):
                self._option(word)
            else:
                self.out.append(word)

    def _option(self, word: str) -> None:
        known = {*self._options, *self._foreign}
        name, equals, value = word.partition("=")
        match = None if name in known else _ATTACHED.match(word)
        if match and match[1] in known:
            name, equals, value = match[1], "=", match[2]
        attached = value if equals else None
        if name in self._options:
            self.out += self._own(word, name, attached)
        elif name in self._foreign:
            self._take(name, attached)
        else:
            close = get_close_matches(name, self._options, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else ", see vkrun --help"
            raise click.UsageError(f"no option {name}{hint}")

    def _own(self, word: str, name: str, attached: str | None) -> list[str]:
        if not self._options[name]:
            return [word]
        return [name, *([attached] if attached is not None else self._words[:1] and [self._words.pop(0)])]

    def _take(self, name: str, attached: str | None) -> None:
        """An option that vkrun does not have, with its value: noted where that changes nothing, else refused."""
        answer = self._foreign[name]
        value = attached if attached is not None else self._value(name, answer.takes)
        shown = name if value is None else f"{name} {value}"
        if not answer.allows(value):
            raise click.UsageError(f"{name if answer.takes is None else shown}: not supported by vkrun ({answer.why})")
        if self._lists and value and "," in value:
            raise click.UsageError(f"{shown}: not supported by vkrun, as the rows would not differ ({answer.why})")
        self.without_effect.append(f"{shown} changes nothing: {answer.why}")

    def _value(self, name: str, takes: Takes | None) -> str | None:
        """The words behind an option that are its value."""
        if takes is Takes.VALUE and not self._words:
            raise click.UsageError(f"Option '{name}' requires an argument.")
        is_there = takes is Takes.VALUE or (takes is Takes.SWITCH and self._words[:1] and _is_switch(self._words[0]))
        return self._words.pop(0) if is_there else None


def _is_switch(word: str) -> bool:
    return word.lower() in SWITCH_VALUES


def options_of(params: Iterator[click.Parameter]) -> dict[str, bool]:
    """Each spelling of a command's options, and whether a value follows it."""
    options = [p for p in params if isinstance(p, click.Option)]
    return {name: not (p.is_flag or p.count) for p in options for name in (*p.opts, *p.secondary_opts)}


def without_effect(ctx: click.Context) -> tuple[str, ...]:
    """What Words found of that kind in the command line of a context."""
    return tuple(ctx.meta.get(_META, ()))


class SpeltCommand(click.Command):
    """A command whose options are written as llama.cpp's."""

    foreign: ClassVar[Mapping[str, Foreign]] = FOREIGN
    lists: ClassVar[bool] = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = Words(args, options_of(iter(self.get_params(ctx))), self.foreign, self.lists)
        ctx.meta[_META] = words.without_effect
        return super().parse_args(ctx, words.out)


def spelt_command(
    name: str,
    run: Callable[..., Any],
    options: Sequence[Callable[..., Any]],
    kind: type[SpeltCommand] = SpeltCommand,
    **texts: str,
) -> click.Command:
    """A command of decorators as they stand in --help."""
    for add in reversed(options):
        run = add(run)
    settings = {"help_option_names": ["-h", "--help", "--usage"], "max_content_width": 110}
    return click.command(name, cls=kind, context_settings=settings, **texts)(run)
