"""Renders chat templates in a process of its own, started by path: it imports nothing of vkrun.

A template comes out of an untrusted file, and jinja2's sandbox bounds neither time nor memory: a loop, a doubled
string or one huge number is enough to hang or exhaust a program, and no check in the same process can interrupt a
single long operation. Another process can be killed on every system. It keeps running between requests, so that only
the first one pays for its start. One JSON line in, one out.
"""

import contextlib
import datetime
import faulthandler
import json
import os
import signal
import sys
from typing import Any

from jinja2 import Environment, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

try:
    import resource
except ImportError:  # Windows
    resource = None

MAX_CHARACTERS = 8 << 20
MAX_BITS = 4096


class GenerationTag(Extension):
    """`{% generation %}` marks what a model said, for training; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Refuses the shortest ways to a huge value, for systems whose kernel does not bound a process's memory."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and _n_bits(left) * abs(right) > MAX_BITS:
            raise TemplateError(f"a power of more than {MAX_BITS} bits")
        if operator == "*":
            size = _length(left) * _times(right) + _length(right) * _times(left)
            if size > MAX_CHARACTERS:
                raise TemplateError(f"a product of more than {MAX_CHARACTERS} elements")
        return super().call_binop(context, operator, left, right)


def _n_bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 64


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _times(value: Any) -> int:
    return abs(value) if isinstance(value, int) else 0


def raise_exception(message: str) -> None:
    """How a template refuses its messages."""
    raise TemplateError(message)


def strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
):
    """jinja2's own filter escapes for HTML, which no model has seen in training."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def make_environment() -> Environment:
    """What transformers offers to a template."""
    environment = BoundedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", GenerationTag]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    return environment


def render(environment: Environment, source: str, variables: dict[str, Any]) -> str:
    """The template's text; TemplateError beyond MAX_CHARACTERS."""
    parts: list[str] = []
    size = 0
    for part in environment.from_string(source).generate(**variables):
        size += len(part)
        if size > MAX_CHARACTERS:
            raise TemplateError(f"more than {MAX_CHARACTERS} characters of text")
        parts.append(part)
    return "".join(parts)


def answer(environment: Environment, request: dict[str, Any]) -> dict[str, Any]:
    """`text`, or `error` with the template's `line` where that is known."""
    try:
        return {"text": render(environment, request["source"], request["variables"])}
    except TemplateSyntaxError as error:
        return {"error": error.message or "syntax error", "line": error.lineno}
    except MemoryError as error:
        return {"error": "it needs too much memory", "line": line_of(error)}
    except RecursionError as error:
        return {"error": "it is nested too deeply", "line": line_of(error)}
    except Exception as error:  # whatever a template provokes is an answer, not the end of this process
        message = error.message if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
        return {"error": message or type(error).__name__, "line": line_of(error)}


def line_of(error: BaseException) -> int | None:
    """The innermost template line in the traceback, which jinja2 has rewritten to the template's own lines."""
    line, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def limit_memory(n_bytes: int) -> None:
    """Where the system can (not on Windows; macOS accepts the limit and does not keep it)."""
    if resource is not None:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def main() -> None:
    seconds, n_bytes = float(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is the parent's affair
    limit_memory(n_bytes)
    environment = make_environment()
    say({"ready": True})
    with open(os.devnull, "w") as nowhere:
        for line in sys.stdin.buffer:
            # The parent kills this process in time; should the parent be gone, this does, from a thread without Python.
            faulthandler.dump_traceback_later(seconds + 1, exit=True, file=nowhere)
            say(answer(environment, json.loads(line)))
            faulthandler.cancel_dump_traceback_later()


def say(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
