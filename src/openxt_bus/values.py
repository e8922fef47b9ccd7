# SPDX-License-Identifier: GPL-2.0-or-later
"""Words of a command line → D-Bus values, by signature.  Pure.

    integers       -5, 17, 0x680                  b           true, 1, false, 0
    d              -1, 0.25                       s o g       the whole word, as it is
    arrays         ["a", 'b\\'c'], [1,2], []       structs     ["name", 3]
    dictionaries   {"key": "value", 'x': 'y'}     v           TYPE:VALUE (u:5, as:["a"]), or a guess

Inside arrays, structs and dictionaries texts are quoted with " or '; there `\\\\` is a backslash and a
backslash with the quote is the quote; any other backslash is itself.  A guess at a variant is a boolean
for true and false, an integer or a double for a number, and a text otherwise.
"""

from __future__ import annotations

from openxt_bus.names import is_object_path
from openxt_core.errors import InvalidArgs
from openxt_core.signature import INTEGERS, TEXTS, Variant, check, parse, single

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from openxt_core.signature import Type

BLANKS = " \t\n"
DELIMITERS = BLANKS + ",:]}"
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
GUESSED_INTEGERS = "ixt"


def value_of(word: str, signature: str) -> Any:
    """The value that a word stands for.  Raises InvalidArgs, saying what was expected."""
    kind = single(signature)
    value = _whole_word(word, kind)
    check(value, kind)
    return value


def _whole_word(word: str, kind: Type) -> Any:
    if kind.code in TEXTS:
        return _text(word, kind.code)
    if kind.code == "v":
        return _variant_word(word)
    reader = _Reader(word)
    value = reader.value(kind)
    reader.expect_end()
    return value


def _variant_word(word: str) -> Variant:
    signature, colon, rest = word.partition(":")
    if colon and _is_type(signature):
        return Variant(signature, _whole_word(rest, single(signature)))
    try:
        return _guess(word)
    except InvalidArgs:
        return Variant("s", _text(word, "s"))


def _text(text: str, code: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgs("text is not valid UTF-8") from None
    if code == "o" and not is_object_path(text):
        raise InvalidArgs(f"{text!r:.60} is not an object path")
    if code == "g":
        parse(text)
    return text


def _is_type(text: str) -> bool:
    try:
        single(text)
    except InvalidArgs:
        return False
    return True


def _guess(plain: str) -> Variant:
    """An unquoted variant.  Raises InvalidArgs when it is neither a boolean nor a number."""
    if plain in ("true", "false"):
        return Variant("b", plain == "true")
    if "." in plain:
        return Variant("d", _double(plain))
    number = _integer(plain)
    for code in GUESSED_INTEGERS:
        if INTEGERS[code][0] <= number <= INTEGERS[code][1]:
            return Variant(code, number)
    raise InvalidArgs(f"{plain} does not fit any integer type")


def _integer(plain: str) -> int:
    digits = plain.removeprefix("-")
    is_hex = digits[:2] in ("0x", "0X")
    good = HEX_DIGITS.issuperset(digits[2:]) and digits[2:] if is_hex else _is_decimal(digits)
    try:
        if good:
            return int(plain, 16 if is_hex else 10)
    except ValueError:  # thousands of digits
        pass
    raise InvalidArgs(f"{plain!r:.60} is not an integer")


def _double(plain: str) -> float:
    whole, point, fraction = plain.removeprefix("-").partition(".")
    value = float(plain) if _is_decimal(whole) and (not point or _is_decimal(fraction)) else None
    if value is None or abs(value) == float("inf"):
        raise InvalidArgs(f"{plain!r:.60} is not a number")
    return value


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdigit()


class _Reader:
    """Reads one value after the other from a word."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._at = 0

    def value(self, kind: Type) -> Any:
        code = kind.code
        if code in TEXTS:
            return _text(self._quoted(), code)
        if code == "v":
            return self._variant()
        if code == "(":
            return self._struct(kind.children)
        if kind.is_dict:
            return self._dict(*kind.children[0].children)
        if code == "a":
            return self._array(kind.children[0])
        return self._basic(code)

    def _basic(self, code: str) -> Any:
        plain = self._bare()
        if code == "d":
            return _double(plain)
        if code != "b":
            return _integer(plain)
        if plain not in BOOLEANS:
            raise InvalidArgs(f"{plain!r:.60} is neither true nor false")
        return BOOLEANS[plain]

    def _variant(self) -> Variant:
        if self._peek() in ('"', "'"):
            return Variant("s", _text(self._quoted(), "s"))
        colon = self._word.find(":", self._at)
        signature = self._word[self._at : max(colon, self._at)]
        if not _is_type(signature):
            return _guess(self._bare())
        self._at = colon + 1
        return Variant(signature, self.value(single(signature)))

    def _array(self, kind: Type) -> Any:
        items: list[Any] = []
        self._expect("[")
        while not self._ends("]", bool(items)):
            items.append(self.value(kind))
        return bytes(self._octets(items)) if kind.code == "y" else items

    def _octets(self, items: list[int]) -> list[int]:
        for item in items:
            check(item, single("y"))
        return items

    def _struct(self, kinds: tuple[Type, ...]) -> list[Any]:
        members: list[Any] = []
        self._expect("[")
        for kind in kinds:
            if members:
                self._expect(",")
            members.append(self.value(kind))
        self._expect("]")
        return members

    def _dict(self, key_kind: Type, value_kind: Type) -> dict[Any, Any]:
        entries: dict[Any, Any] = {}
        self._expect("{")
        while not self._ends("}", bool(entries)):
            key = self.value(key_kind)
            self._expect(":")
            entries[key] = self.value(value_kind)
        return entries

    def _ends(self, closing: str, has_items: bool) -> bool:
        """Whether the closing bracket comes; if not, steps over the comma before the next item."""
        if self._peek() == closing:
            self._at += 1
            return True
        if has_items:
            self._expect(",")
        return False

    def _quoted(self) -> str:
        quote = self._peek()
        if quote not in ('"', "'"):
            raise InvalidArgs(f"a quoted text expected at {self._here()}")
        out = []
        at = self._at + 1
        while (char := self._word[at : at + 1]) != quote:
            if not char:
                raise InvalidArgs(f"no closing {quote}")
            if char == "\\" and self._word[at + 1 : at + 2] in ("\\", quote):
                at += 1
                char = self._word[at]
            out.append(char)
            at += 1
        self._at = at + 1
        return "".join(out)

    def _bare(self) -> str:
        self._peek()
        end = start = self._at
        while end < len(self._word) and self._word[end] not in DELIMITERS:
            end += 1
        self._at = end
        return self._word[start:end]

    def _peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while (char := self._word[self._at : self._at + 1]) and char in BLANKS:
            self._at += 1
        return char

    def _expect(self, char: str) -> None:
        if self._peek() != char:
            raise InvalidArgs(f"{char} expected at {self._here()}")
        self._at += 1

    def expect_end(self) -> None:
        if self._peek():
            raise InvalidArgs(f"nothing more expected at {self._here()}")

    def _here(self) -> str:
        return repr(self._word[self._at : self._at + 20]) if self._at < len(self._word) else "the end"
