"""What an answer has to be, by llama.cpp's spellings."""

from typing import Any

import click

from ..text.grammar import Grammar
from .texts import file_text

OPTIONS = (
    click.option("--grammar", metavar="GBNF", help="Hold answers to a grammar."),
    click.option("--grammar-file", metavar="FILE", help="Likewise, from a file."),
    click.option("-j", "--json-schema", metavar="SCHEMA", help="Hold answers to JSON by a schema; {} for any object."),
    click.option("-jf", "--json-schema-file", metavar="FILE", help="Likewise, from a file."),
)
_NAMES = ("grammar", "grammar_file", "json_schema", "json_schema_file")


def from_grammar(values: dict[str, Any]) -> Grammar | None:
    """Takes the options out of a command's values; UsageError where there are several, or for a file or schema that
    cannot be."""
    given = {name: value for name in _NAMES if (value := values.pop(name)) is not None}
    if len(given) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{names}: an answer can be held to one of them")
    for name, value in given.items():
        text = file_text(value, f"--{name.replace('_', '-')}") if name.endswith("_file") else value
        if name.startswith("json"):
            return Grammar.json(None if text.strip() == "{}" else text)
        return Grammar("gbnf", text)
    return None
