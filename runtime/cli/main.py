"""The command `vkrun`: finds the command that is meant and turns every error into one line and an exit code."""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

import click

from .. import config
from ..errors import UsageError, VkrunError, reason
from . import screen
from .commands import COMMANDS
from .options import make_command

_MODULES = {
    "chat": "chat_remote",
    "inspect": "inspect_file",
    "test-ops": "ops_matrix",
    "list": "list_models",
    "rm": "remove",
}  # where a command's file is not called after it
FAILED, MISUSED, INTERRUPTED, PIPE_BROKEN = 1, 2, 130, 141  # the last two: 128 + the signal, as shells count


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; its exit code. Never raises: errors are one line on stderr."""
    if sys.stdout is None:  # a program that wrote nothing must not look like one that had nothing to say
        screen.note("stdout is closed: there is nowhere to write to")
        return FAILED
    try:
        with _warnings_as_notes():
            code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        screen.drop_stdout()
        return PIPE_BROKEN
    except KeyboardInterrupt:
        screen.note("interrupted")
        return INTERRUPTED
    except Exception as error:  # the last place: whatever it was, one line and no traceback
        return _report(error)


def _run(args: list[str]) -> int:
    screen.forgive_encoding()
    name = args.pop(0) if args and args[0] in COMMANDS else ""
    if name == "help":
        name, args = _helped(args), ["--help"]
    command = _load(name) if name else make_command(_epilog())
    try:
        with command.make_context(f"vkrun {name}".strip(), args) as context:
            return command.invoke(context) or 0
    except click.exceptions.Exit as done:
        return done.exit_code


def _helped(args: list[str]) -> str:
    """The command whose help is asked for; "" for the default one's."""
    name = next((word for word in args if word not in ("-h", "--help")), "")
    if name not in ("", *COMMANDS):
        raise click.UsageError(f"no command {screen.one_line(name)!r:.60}; there are {', '.join(COMMANDS)}")
    return "" if name == "help" else name


def _load(name: str) -> click.Command:
    return import_module(f".{_MODULES.get(name, name)}", __package__).command


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """A warning is a line like any other, said once, without the place in the source that Python prints with it."""
    said: set[str] = set()

    def show(message: Warning | str, *_place: object) -> None:
        if str(message) not in said:
            screen.note(str(message))
            said.add(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _epilog() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name.ljust(width)}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(["\b", "Commands (a file of such a name is ./NAME, a prompt is -p NAME):", *rows])


def _report(error: Exception) -> int:
    if _debugs():
        import_module("traceback").print_exc()
    if isinstance(error, click.ClickException):
        screen.note(error.format_message())
        return MISUSED if isinstance(error, click.UsageError) else FAILED
    if isinstance(error, VkrunError):
        screen.note(str(error))
        return MISUSED if isinstance(error, UsageError) else FAILED
    if isinstance(error, OSError):  # a disk that is full, a terminal that went away
        screen.note(reason(error))
        screen.flush_or_drop_stdout()
        return FAILED
    screen.note(f"{type(error).__name__}: {error} (VKRUN_DEBUG=1 shows the traceback)")
    return FAILED


def _debugs() -> bool:
    try:
        return config.read().debug > 0
    except UsageError:  # a variable that cannot be read is what is being reported, or will be
        return False
