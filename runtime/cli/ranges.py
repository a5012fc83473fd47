"""Numbers of options, by the names that errors give them: click's own make "not a valid integer range" of a word."""

import click


class Whole(click.IntRange):
    name = "integer"


class Number(click.FloatRange):
    name = "number"
