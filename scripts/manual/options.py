# SPDX-License-Identifier: GPL-2.0-or-later
"""A program's own option table → rows of (what is typed, what it does)."""

import argparse
import re
from collections.abc import Iterable, Iterator

from openxt_xec.grammar import Option

Row = tuple[str, str]


def of_parser(parser: argparse.ArgumentParser) -> list[Row]:
    """The arguments and options, also those that --help leaves out; commands are told by `commands_of`."""
    actions = [one for one in parser._actions if not isinstance(one, argparse._SubParsersAction)]
    return [(_typed(one), _meaning(parser, one)) for one in actions]


def commands_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, list[Row]]]:
    """Name, meaning and rows of each command of a parser that has some."""
    for group in parser._actions:
        if isinstance(group, argparse._SubParsersAction):
            for name, one in group.choices.items():
                yield name, one.description or "", of_parser(one)


def of_options(table: Iterable[Option]) -> list[Row]:
    return [(f"{', '.join(one.words)} {' '.join(one.values)}".rstrip(), one.doc) for one in table]


def _typed(action: argparse.Action) -> str:
    value = action.metavar or action.dest.upper()
    if not action.option_strings:
        return f"{value}…" if action.nargs in ("*", "+") else str(value)
    takes_none = action.nargs == 0
    if action.choices and not takes_none:
        value = "|".join(map(str, action.choices))
    return ", ".join(action.option_strings) + ("" if takes_none else f" {value}")


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    if action.help == argparse.SUPPRESS:
        return "Refused, with the reason."
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    return re.sub(r"^show this help message and exit$", "print a summary of the options", text)
