# SPDX-License-Identifier: GPL-2.0-or-later
"""The database told in the plainest way, to compare with: lists of pairs, no sharing, no files.

Values are what `json.loads` makes of JSON, except that an object is a list of [name, value] pairs.
"""

import json
from typing import Any

OBJECT = "object"


class Refusal(Exception):
    """The operation must fail."""


def from_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=lambda pairs: Pairs([list(pair) for pair in pairs]))


class Pairs(list[Any]):
    """An object: [name, value] pairs in order."""

    def get(self, name: str) -> list[Any] | None:
        return next((pair for pair in self if pair[0] == name), None)


class Model:
    def __init__(self) -> None:
        self.root = Pairs()

    def _find(self, path: list[str]) -> list[Any] | None:
        pair: list[Any] | None = ["", self.root]
        for name in path:
            if pair is None or not isinstance(pair[1], Pairs):
                return None
            pair = pair[1].get(name)
        return pair

    def _make(self, path: list[str]) -> list[Any]:
        pair: list[Any] = ["", self.root]
        for name in path:
            if not isinstance(pair[1], Pairs):
                pair[1] = Pairs()
            found = pair[1].get(name)
            if found is None:
                pair[1].append(found := [name, None])
            pair = found
        return pair

    @staticmethod
    def split(text: str) -> list[str]:
        return [name for name in text.split("/") if name]

    def read(self, path: str) -> str:
        pair = self._find(self.split(path))
        value = None if pair is None else pair[1]
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return f"{value:.6f}"
        return str(value) if isinstance(value, str | int) else ""

    def exists(self, path: str) -> bool:
        return self._find(self.split(path)) is not None

    def names(self, path: str) -> list[str]:
        pair = self._find(self.split(path))
        return [name for name, _ in pair[1]] if pair and isinstance(pair[1], Pairs) else []

    def write(self, path: str, value: str) -> None:
        steps = self.split(path)
        found = self._find(steps)
        if found is not None and isinstance(found[1], Pairs) and (found[1] or not steps):
            if not found[1]:
                raise Refusal  # the root holds no value
            return
        self._check_top(steps, value)
        self._make(steps)[1] = value

    def inject(self, path: str, text: str) -> None:
        try:
            value = from_json(text)
        except ValueError as error:
            raise Refusal from error
        steps = self.split(path)
        self._check_top(steps, value)
        if not steps:
            self.root = value
        else:
            self._make(steps)[1] = value

    def rm(self, path: str) -> None:
        steps = self.split(path)
        if not steps:
            self.root = Pairs()
        elif self._find(steps) is not None:
            for depth, name in enumerate(steps):
                level = self._find(steps[:depth])
                assert level is not None
                last = depth == len(steps) - 1
                level[1][:] = [
                    pair
                    for pair in level[1]
                    if (pair[1] is not None or pair[0] == name) and not (last and pair[0] == name)
                ]

    @staticmethod
    def _check_top(steps: list[str], value: Any) -> None:
        """What has no file to be in."""
        if not steps and not isinstance(value, Pairs):
            raise Refusal
        if not steps:
            for name, inner in value:
                Model._check_top([name], inner)
        elif steps[0] in ("vm", "dom-store"):
            if len(steps) == 1 and not isinstance(value, Pairs):
                raise Refusal
            names = [name for name, _ in value] if len(steps) == 1 else [steps[1]]
            if any(name in (".", "..", "") or "/" in name for name in names):
                raise Refusal

    def dump(self, path: str) -> str:
        pair = self._find(self.split(path))
        return self._text(None if pair is None else pair[1], "") + "\n"

    def _text(self, value: Any, indent: str) -> str:
        inner = indent + "  "
        if isinstance(value, Pairs):
            items = [f"{self._text(name, '')}: {self._text(one, inner)}" for name, one in value]
            return self._block("{", items, "}", indent) if items else "{ }"
        if isinstance(value, list):
            return self._block("[", [self._text(one, inner) for one in value], "]", indent) if value else "[]"
        if isinstance(value, float):
            return f"{value:.6f}"
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False).replace("/", "\\/").replace("\x7f", "\x7f")
        return json.dumps(value)

    @staticmethod
    def _block(opening: str, items: list[str], closing: str, indent: str) -> str:
        lines = (",\n").join(f"{indent}  {item}" for item in items)
        return f"{opening}\n{lines}\n{indent}{closing}"
