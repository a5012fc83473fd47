"""The options of the chat format, in llama.cpp's spellings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

REASONING_FORMATS = ("auto", "none", "deepseek")


def thinking_options(option: Callable[..., Any] = click.option, **of_each: dict[str, Any]) -> tuple[Any, ...]:
    """Whether and how much the chat format is asked to think. of_each: more that an option is told, by its value's
    name."""
    return (
        option(
            *("-rea", "--reasoning", "reasoning"),
            type=click.Choice(("auto", "on", "off")),
            default="auto",
            show_default=True,
            help="Tells the chat format whether to think (enable_thinking); auto: as it does by itself.",
            **of_each.get("reasoning", {}),
        ),
        option(
            *("--reasoning-effort", "reasoning_effort"),
            metavar="LEVEL",
            help="How much, such as low or high, where the chat format knows (reasoning_effort).",
            **of_each.get("reasoning_effort", {}),
        ),
    )


def thinking(budget: str, thinks: str, effort: str | None) -> dict[str, Any]:
    """What --reasoning-budget, --reasoning and --reasoning-effort tell the chat format."""
    made: dict[str, Any] = {} if thinks == "auto" and budget == "-1" else {"enable_thinking": thinks == "on"}
    return made if effort in (None, "default") else {**made, "reasoning_effort": effort}


OPTIONS = (
    click.option(
        "--chat-template",
        metavar="TEMPLATE",
        help="Chat format in the place of the file's: a name such as chatml or llama3, or Jinja text.",
    ),
    click.option("--chat-template-file", metavar="FILE", help="Read the chat format's Jinja text from a file."),
    click.option(
        "--chat-template-kwargs",
        metavar="JSON",
        help="""Variables of the chat format, such as '{"enable_thinking": false}'.""",
    ),
    click.option(
        "--reasoning-format",
        type=click.Choice(REASONING_FORMATS),
        default="auto",
        show_default=True,
        help="none: what a model thinks stays in its answer as it is; else it is told apart, and dimmed.",
    ),
    click.option(
        "--reasoning-budget",
        type=click.Choice(("-1", "0")),
        default="-1",
        show_default=True,
        help="0: asks the chat format for answers without reasoning (enable_thinking).",
    ),
    *thinking_options(),
    click.option("--hide-reasoning", "--hidethinking", "hide_reasoning", is_flag=True, help="Show the answer alone."),
)


@dataclass(frozen=True)
class ChatOptions:
    """What a command line says of the chat format; None: nothing."""

    template: str | None = None
    file: str | None = None
    arguments: str | None = None  # JSON
    reasoning: str = "auto"
    budget: str = "-1"
    thinks: str = "auto"
    effort: str | None = None
    hides: bool = False

    @property
    def asks(self) -> str | None:
        """The option that only makes sense in the chat format, if there is one."""
        given = {"--chat-template": self.template, "--chat-template-file": self.file}
        given["--chat-template-kwargs"] = self.arguments
        return next((name for name, value in given.items() if value is not None), None)


def from_values(values: dict[str, Any]) -> ChatOptions:
    """Takes the options out of a command's values; UsageError for two templates."""
    names = ("chat_template", "chat_template_file", "chat_template_kwargs")
    names = (*names, "reasoning_format", "reasoning_budget", "reasoning", "reasoning_effort", "hide_reasoning")
    made = ChatOptions(*(values.pop(name) for name in names))
    if made.template is not None and made.file is not None:
        raise click.UsageError("--chat-template and --chat-template-file: the chat format comes from one place only")
    return made
