"""Which model and which prompt a command line means."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from ..errors import VkrunError
from .commands import COMMANDS
from .options import RunOptions
from .screen import is_terminal, one_line

MAX_NBYTES = 64 << 20  # no context holds that much text
_ESCAPE = re.compile(r"""\\(?:([nrt'"\\])|x([0-9a-fA-F]{1,2}))""")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\"}


@dataclass(frozen=True)
class Asked:
    """`model` None: the bundled one. `prompt` None: it is on stdin where `on_stdin` says so, else there is none."""

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
    system = _typed(options, options.system_prompt, "-sys")
    on_stdin = not sources and not options.conversation and not is_terminal(sys.stdin)
    return Asked(model, _prompt(options, word), on_stdin, system, _stops(options))


def unescape(text: str) -> str:
    r"""Reads \n \r \t \' \" \\ and \xHH, as llama.cpp does; what follows any other backslash stays as it is.

    \xHH are bytes of UTF-8.
    """
    if "\\x" not in text:
        return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text)
    data = _ESCAPE.sub(lambda m: _ESCAPED[m[1]] if m[1] else chr(0xDC00 + int(m[2], 16)), text)
    high = re.sub("[\udc00-\udc7f]", lambda m: chr(ord(m[0]) - 0xDC00), data)
    return high.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read_stdin(options: RunOptions) -> str:
    """The prompt that is piped in; click's UsageError when nothing is."""
    data = sys.stdin.buffer.read(MAX_NBYTES + 1) if sys.stdin is not None else b""
    if not data.strip():
        raise click.UsageError("no prompt: stdin is empty; give a prompt as a word, with -p or with -f")
    return _text(options, data, "stdin")


def _words(options: RunOptions) -> tuple[str | None, str | None]:
    """The model's path and the prompt among the bare words."""
    words = list(options.words)
    model = options.model
    if model is None and words and names_model(words[0]):
        model = words.pop(0)
    if model is None and words and words[0] in COMMANDS:
        raise click.UsageError(f"{words[0]}: a command comes first (vkrun {words[0]} ...); as a prompt: -p {words[0]}")
    if len(words) > 1:
        at = f"{one_line(words[0])!r:.60} is taken for the prompt" + ("" if model else ", as it names no file")
        raise click.UsageError(f"{at}, and {one_line(words[1])!r:.60} follows it; put a prompt into quotes")
    return model, words[0] if words else None


def names_model(word: str) -> bool:
    """Whether a first word is a model rather than a prompt."""
    try:
        return word.lower().endswith(".gguf") or os.path.exists(word)
    except ValueError:  # a word that no path can be
        return False


def _prompt(options: RunOptions, word: str | None) -> str | None:
    if options.file is not None:
        return _from_file(options, options.file)
    return _typed(options, word if word is not None else options.prompt, "prompt")


def _from_file(options: RunOptions, path: str) -> str:
    try:
        with Path(path).open("rb") as f:
            data = f.read(MAX_NBYTES + 1)
    except (OSError, ValueError) as error:
        raise VkrunError(f"-f {path}: cannot read: {getattr(error, 'strerror', None) or error}") from None
    return _text(options, data, f"-f {path}")


def _text(options: RunOptions, data: bytes, where: str) -> str:
    """Text of a file without its last newline, as llama.cpp takes it; backslashes stay unless -e is given."""
    if len(data) > MAX_NBYTES:
        raise VkrunError(f"{where}: more than {MAX_NBYTES >> 20} MiB, too long for a prompt")
    text = _decoded(data, where).removesuffix("\n")
    return unescape(text) if options.escape else text


def _typed(options: RunOptions, text: str | None, where: str) -> str | None:
    if text is None:
        return None
    text = _decoded(text.encode("utf-8", "surrogateescape"), where)
    return text if options.escape is False else unescape(text)


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise VkrunError(f"{where}: byte {error.start} (0x{data[error.start]:02x}) is not UTF-8") from None


def _stops(options: RunOptions) -> tuple[str, ...]:
    return tuple(t for text in options.reverse_prompt if (t := _typed(options, text, "-r")))
