# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule text → rules, and back.  Pure.  The grammar is told in rules/README.md.

A text with an error is refused whole, naming line and word: half a policy is no policy.
"""

import re
from collections.abc import Iterator

from openxt_bus.names import is_object_path
from openxt_core.errors import BadRequest
from openxt_core.ids import Domid, parse_uuid
from openxt_rpcproxy.rules.model import BELOW, Direction, Kind, Rule, Verdict

MAX_RULE_LENGTH = 4096

_WORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]*\Z")
_TEXT = re.compile(r"[!-~]+\Z")  # of paths and arguments; `#` has begun a comment before
_PLAIN = ("destination", "interface", "member", "sender", "property")
_SUBJECTS: dict[str, tuple[Direction, Kind | None]] = {
    f"{direction}-{kind}": (direction, kind)
    for direction in Direction
    for kind in (Kind.CALL, Kind.SIGNAL, Kind.RETURN, Kind.ERROR)
} | {f"{direction}-any": (direction, None) for direction in Direction}
_BOOLS = {"true": True, "false": False}


class RuleError(BadRequest):
    """A rule that cannot be read; the text says where and why."""


def parse_rules(text: str, origin: str) -> tuple[Rule, ...]:
    """The rules of a file.  Raises RuleError."""
    rules = []
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.split("#", 1)[0].strip(" \t\r")
        if bare:
            rules.append(parse_rule(bare, f"{origin}:{number}"))
    return tuple(rules)


def parse_rule(text: str, origin: str) -> Rule:
    """One rule.  Raises RuleError for anything that is not exactly one."""
    if len(text) > MAX_RULE_LENGTH or "\n" in text:
        raise RuleError(f"{origin}: not one line of at most {MAX_RULE_LENGTH} characters")
    words = text.replace("\r", " ").replace("\t", " ").split(" ")
    words = [word for word in words if word]
    try:
        return _Reader(iter(words), origin, " ".join(words)).read()
    except StopIteration:
        raise RuleError(f"{origin}: the rule ends where a word is missing: {text!r:.200}") from None


def specifier_words(text: str) -> Iterator[str]:
    """The specifiers of a rule that can be read, without their values."""
    words = iter(text.split(" ")[1:])
    for word in words:
        if word in _SUBJECTS or word == "all":
            continue
        yield word
        for _ in range(2 if word == "if-boolean" else 1):
            next(words)


class _Reader:
    """Reads one rule word by word."""

    def __init__(self, words: Iterator[str], origin: str, text: str) -> None:
        self._words = words
        self._origin = origin
        self._text = text
        self._wanted: dict[str, str] = {}
        self._single: dict[str, object] = {}
        self._properties: list[tuple[str, str | bool]] = []

    def read(self) -> Rule:
        verdict = self._verdict(self._word())
        subject = _SUBJECTS["inc-any"]
        first = next(self._words, None)
        if first in _SUBJECTS:
            subject = _SUBJECTS[first]
            first = next(self._words, None)
        if first == "all":
            self._nothing_more()
        elif first is not None:
            self._specifiers(first)
        return Rule(
            verdict,
            *subject,
            wanted=self._wanted,
            properties=tuple(self._properties),
            text=self._text,
            origin=self._origin,
            **self._single,  # type: ignore[arg-type]  # filled by _specifier, each with its own type
        )

    def _word(self) -> str:
        word = next(self._words)
        if not _WORD.match(word):
            raise self._error(f"{word!r:.80} is not a word of the rule language")
        return word

    def _verdict(self, word: str) -> Verdict:
        try:
            return Verdict(word)
        except ValueError:
            raise self._error(f"begins with {word!r}, not allow or deny") from None

    def _nothing_more(self) -> None:
        extra = next(self._words, None)
        if extra is not None:
            raise self._error(f"{extra!r} after `all`")

    def _specifiers(self, word: str | None) -> None:
        while word is not None:
            self._specifier(word)
            word = next(self._words, None)

    def _specifier(self, word: str) -> None:
        if word in _PLAIN:
            self._wanted[word] = self._word()
        elif word == "path":
            self._wanted[word] = self._path(next(self._words))
        elif word == "arg0":
            self._wanted[word] = self._argument(next(self._words))
        elif word == "dom-uuid":
            self._single["dom_uuid"] = parse_uuid(self._word())
        elif word == "dom-id":
            self._single["dom_id"] = Domid(self._number(self._word()))
        elif word in ("dom-type", "dom-name"):
            self._properties.append((word.removeprefix("dom-"), self._word()))
        elif word == "if-boolean":
            self._properties.append((self._word(), self._bool(self._word())))
        elif word == "stubdom":
            self._single["stubdom"] = self._bool(self._word())
        else:
            raise self._error(f"unknown word {word!r:.80}")

    def _path(self, word: str) -> str:
        if not is_object_path(word.removesuffix(BELOW) or "/"):
            raise self._error(f"{word!r:.80} is not an object path, nor one that ends in {BELOW}")
        return word

    def _argument(self, word: str) -> str:
        if not _TEXT.match(word):
            raise self._error(f"{word!r:.80} has characters that no rule can hold")
        return word

    def _number(self, word: str) -> int:
        if not word.isdecimal() or int(word) > 0x7FFF:
            raise self._error(f"{word!r} is not a domain id")
        return int(word)

    def _bool(self, word: str) -> bool:
        if word not in _BOOLS:
            raise self._error(f"{word!r} is not true or false")
        return _BOOLS[word]

    def _error(self, why: str) -> RuleError:
        return RuleError(f"{self._origin}: {why}: {self._text!r:.200}")
