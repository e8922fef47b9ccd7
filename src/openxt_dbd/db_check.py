# SPDX-License-Identifier: GPL-2.0-or-later
"""db-check: does what is stored of the VMs make sense to the toolstack?  Changes nothing.

Usage: db-check [--json] [UUID…]     (none: all VMs, and the files that dbd had to set aside)

One line for each key that is wrong: where, what is there, what is expected.  With --json a list of objects
with these keys.  Exit status 0: nothing found, 1: something found, 2: dbd does not answer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from openxt_core.errors import OpenxtError
from openxt_dbd.db_cmd import DATABASE, FAILED, OK

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

    from openxt_bus.blocking import BlockingBus

FOUND = 1
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and where."""

    path: str
    value: Any
    expected: str

    def __str__(self) -> str:
        shown = json.dumps(self.value, ensure_ascii=False)
        cut = shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}…"
        return f"{self.path} is {cut}, expected {self.expected}"


class Checker:
    """Holds trees of VMs against the schema that xenmgr's properties give."""

    def __init__(self) -> None:
        from jsonschema import Draft202012Validator

        schema = json.loads((resources.files("openxt_dbd") / "schema" / "vm.json").read_text())
        self._validator: Validator = Draft202012Validator(schema)

    def problems(self, uuid: str, tree: Any) -> Iterator[Problem]:
        """All that is wrong with one VM, one for each key, in the order of paths."""
        found: dict[str, Problem] = {}
        for error in self._validator.iter_errors(tree):
            for problem in _told(f"/vm/{uuid}", error):
                found.setdefault(problem.path, problem)
        yield from (found[path] for path in sorted(found))


def _told(top: str, error: Any) -> Iterator[Problem]:
    path = "/".join((top, *map(str, error.absolute_path)))
    if error.validator == "additionalProperties":
        wanted = [name for name in error.instance if not name.isdecimal()]
        yield from (Problem(f"{path}/{name}", error.instance[name], "a number for a name") for name in wanted)
    elif error.instance is not None or path == top:  # an entry without a value counts as none
        yield Problem(path, error.instance, error.schema["description"])


def run(options: argparse.Namespace, bus: BlockingBus) -> int:
    """Check, print what was found, and give the exit status.  Raises OpenxtError."""
    found = list(check(bus, options.uuids))
    if options.json:
        print(json.dumps([asdict(problem) for problem in found], indent=2))
    else:
        for problem in found:
            print(problem)
    return FOUND if found else OK


def check(bus: BlockingBus, uuids: Sequence[str]) -> Iterator[Problem]:
    checker = Checker()
    if not uuids:
        yield from _bad_files(bus)
    for uuid in uuids or _ask(bus, "list", "/vm"):
        yield from checker.problems(uuid, json.loads(_ask(bus, "dump", f"/vm/{uuid}")))


def _bad_files(bus: BlockingBus) -> Iterator[Problem]:
    (files,) = bus.call(DATABASE, "/", f"{DATABASE}.admin", "bad_files", "", ())
    yield from (Problem(file, why or None, "a readable file: it was set aside") for file, why in files)


def _ask(bus: BlockingBus, member: str, path: str) -> Any:
    return bus.call(DATABASE, "/", DATABASE, member, "s", (path,))[0]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("db-check", description="Does what is stored of the VMs make sense?")
    made.add_argument("--json", action="store_true", help="a list of objects instead of lines")
    made.add_argument("uuids", nargs="*", metavar="UUID", help="none: all VMs, and files set aside")
    return made


def main() -> int:
    from openxt_bus.blocking import BlockingBus

    options = parser().parse_args()
    try:
        bus = BlockingBus()
        try:
            return run(options, bus)
        finally:
            bus.close()
    except OpenxtError as error:
        print(error, file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
