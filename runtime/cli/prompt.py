"""Which model and which prompt a command line means."""

import contextlib
import os
import re
import select
import sys
from dataclasses import dataclass
from difflib import get_close_matches

import click

from .commands import COMMANDS
from .run_options import RunOptions
from .screen import is_terminal, note, one_line
from .texts import MAX_NBYTES, decoded, file_text, text_of

STDIN = "-"  # as the name of a file
PATIENCE = 1.0  # seconds that a pipe beside a prompt may take without a word about it
_ESCAPE = re.compile(r"""\\(?:([nrt'"\\])|x([0-9a-fA-F]{1,2}))""")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\"}


@dataclass(frozen=True)
class Asked:
    """`model` None: the bundled one. on_stdin: text may be there, to go before `prompt`, where that is given."""

    model: str | None
    prompt: str | None
    on_stdin: bool
    system: str | None
    stops: tuple[str, ...]


def asked(options: RunOptions) -> Asked:
    """What is meant. click's UsageError for words that do not fit together, VkrunError for text that cannot be read."""
    model, word = _words(options)
    given = {"PROMPT": word, "-p": options.prompt, "-f": options.file}
    sources = [name for name, value in given.items() if value is not None]
    if len(sources) > 1:
        raise click.UsageError(f"{' and '.join(sources)}: the prompt comes from one place only")
    system = _system(options)
    on_stdin = options.file == STDIN or (not options.conversation and not is_terminal(sys.stdin))
    return Asked(model, _prompt(options, word), on_stdin, system, _stops(options))


def _system(options: RunOptions) -> str | None:
    if options.system_prompt_file is None:
        return _typed(options, options.system_prompt, "-sys")
    if options.system_prompt is not None:
        raise click.UsageError("-sys and -sysf: the system message comes from one place only")
    return file_text(options.system_prompt_file, "-sysf")


def unescape(text: str) -> str:
    r"""Reads \n \r \t \' \" \\ and \xHH, as llama.cpp does; what follows any other backslash stays as it is.

    \xHH are bytes of UTF-8.
    """
    if "\\x" not in text:
        return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text)
    data = _ESCAPE.sub(lambda m: _ESCAPED[m[1]] if m[1] else chr(0xDC00 + int(m[2], 16)), text)
    high = re.sub("[\udc00-\udc7f]", lambda m: chr(ord(m[0]) - 0xDC00), data)
    return high.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def with_stdin(options: RunOptions, prompt: str | None) -> str:
    """The prompt with what is piped in before it, a line apart; click's UsageError where there is neither."""
    if prompt is not None:
        _say_what_is_waited_for()
    data = sys.stdin.buffer.read(MAX_NBYTES + 1) if sys.stdin is not None else b""
    if data.strip():
        text = text_of(data, "stdin")
        text = unescape(text) if options.escape else text
        return text if prompt is None else f"{text}\n{prompt}"
    if prompt is None:
        raise click.UsageError("no prompt: stdin is empty; give a prompt as a word, with -p or with -f")
    return prompt


def _say_what_is_waited_for() -> None:
    """Beside a prompt, a stdin that someone left open would look like a program that hangs."""
    with contextlib.suppress(AttributeError, OSError, ValueError, TypeError):  # none, or nothing that can be waited for
        if not select.select([sys.stdin], [], [], PATIENCE)[0]:
            note("reading stdin, which goes before the prompt; < /dev/null leaves it out")


def _words(options: RunOptions) -> tuple[str | None, str | None]:
    """The model's path and the prompt among the bare words."""
    words = list(options.words)
    model = options.model or options.hub.repo
    if model is None and words and names_model(words[0]):
        model = words.pop(0)
    if model is None and words:
        _check_no_command(words)
    if second := next((word for word in words if model is not None and _is_gguf(word)), None):
        first = one_line(model or "")
        raise click.UsageError(f"{first} and {one_line(second)}: two models; one is run at a time (a prompt: -p TEXT)")
    if len(words) > 1:
        at = f"{one_line(words[0])!r:.60} is taken for the prompt" + ("" if model else ", as it names no file")
        raise click.UsageError(f"{at}, and {one_line(words[1])!r:.60} follows it; put a prompt into quotes")
    if words and names_model(words[0]):
        note(f"{one_line(words[0])!r:.60} is taken for the prompt itself; -f reads it from that file")
    return model, words[0] if words else None


def _check_no_command(words: list[str]) -> None:
    """UsageError where a first word is a command in the wrong place, misspelt, or another program's."""
    first = words[0]
    if first in COMMANDS:
        raise click.UsageError(f"{first}: a command comes first (vkrun {first} ...); as a prompt: -p {first}")
    if close := get_close_matches(first, COMMANDS, n=1, cutoff=0.75):
        raise click.UsageError(f"{first}: no command and no file; did you mean {close[0]}? As a prompt: -p {first}")
    if " " not in first and any(map(_is_gguf, words[1:])):
        raise click.UsageError(f"{one_line(first)}: no command and no file; a model runs without one: vkrun MODEL.gguf")


def names_model(word: str) -> bool:
    """Whether a first word is a model rather than a prompt."""
    try:
        return _is_gguf(word) or os.path.exists(word)
    except ValueError:  # a word that no path can be
        return False


def _is_gguf(word: str) -> bool:
    return word.lower().endswith(".gguf")


def _prompt(options: RunOptions, word: str | None) -> str | None:
    if options.file == STDIN:
        return None
    if options.file is not None:
        return unescape(file_text(options.file)) if options.escape else file_text(options.file)
    return _typed(options, word if word is not None else options.prompt, "prompt")


def _typed(options: RunOptions, text: str | None, where: str) -> str | None:
    if text is None:
        return None
    text = decoded(text.encode("utf-8", "surrogateescape"), where)
    return text if options.escape is False else unescape(text)


def _stops(options: RunOptions) -> tuple[str, ...]:
    return tuple(t for text in options.reverse_prompt if (t := _typed(options, text, "-r")))
