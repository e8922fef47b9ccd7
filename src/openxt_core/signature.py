# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus type strings: split them, check a value against one, name the Python type.  Pure.

Source: D-Bus specification 1.0, "Type System"; limits from "Valid Signatures".
"""

from __future__ import annotations

from openxt_core.errors import InvalidArgs

# Only the type checker needs these: a command line tool that loads us must start in milliseconds,
# and `typing` or `dataclasses` alone would double that.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

INTEGERS = {
    "y": (0, 2**8 - 1),
    "n": (-(2**15), 2**15 - 1),
    "q": (0, 2**16 - 1),
    "i": (-(2**31), 2**31 - 1),
    "u": (0, 2**32 - 1),
    "x": (-(2**63), 2**63 - 1),
    "t": (0, 2**64 - 1),
    "h": (0, 2**32 - 1),
}
TEXTS = "sog"
BASIC = "".join(INTEGERS) + "bd" + TEXTS
MAX_LENGTH = 255
MAX_DEPTH = 32


class Variant:
    """A value that carries its own type.  Not to be changed once made."""

    __slots__ = ("signature", "value")

    def __init__(self, signature: str, value: Any) -> None:
        self.signature = signature
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Variant):
            return NotImplemented
        return (self.signature, self.value) == (other.signature, other.value)

    def __hash__(self) -> int:
        return hash((self.signature, self.value))

    def __repr__(self) -> str:
        return f"Variant({self.signature!r}, {self.value!r})"


class Type:
    """One complete type.  `code` is a type letter, `(` for a struct, `{` for a dict entry."""

    __slots__ = ("children", "code", "is_dict")

    def __init__(self, code: str, children: tuple[Type, ...] = ()) -> None:
        self.code = code
        self.children = children
        self.is_dict = code == "a" and children[0].code == "{"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __repr__(self) -> str:
        return f"Type({str(self)!r})"

    def __str__(self) -> str:
        inner = "".join(map(str, self.children))
        closing = {"(": ")", "{": "}"}.get(self.code, "")
        return f"{self.code}{inner}{closing}"


_parsed: dict[str, tuple[Type, ...]] = {}
MAX_PARSED = 1024  # signatures kept; guests may make up as many as they like


def parse(signature: str) -> tuple[Type, ...]:
    """The complete types of a signature.  Raises InvalidArgs naming what is wrong."""
    types = _parsed.get(signature)
    if types is None:
        types = _parse(signature)
        if len(_parsed) >= MAX_PARSED:
            _parsed.clear()
        _parsed[signature] = types
    return types


def _parse(signature: str) -> tuple[Type, ...]:
    if len(signature) > MAX_LENGTH:
        raise InvalidArgs(f"signature longer than {MAX_LENGTH} characters")
    types: list[Type] = []
    at = 0
    while at < len(signature):
        one, at = _complete(signature, at, 0)
        types.append(one)
    return tuple(types)


def single(signature: str) -> Type:
    """The type of a signature that must hold exactly one."""
    types = parse(signature)
    if len(types) != 1:
        raise InvalidArgs(f"{signature!r} is not one complete type")
    return types[0]


def _complete(text: str, at: int, depth: int) -> tuple[Type, int]:
    if depth > MAX_DEPTH:
        raise InvalidArgs(f"signature {text!r} is nested deeper than {MAX_DEPTH}")
    code = text[at : at + 1]
    if code and code in BASIC + "v":
        return Type(code), at + 1
    if code == "a":
        return _array(text, at + 1, depth)
    if code == "(":
        return _struct(text, at + 1, depth)
    raise InvalidArgs(f"signature {text!r}: no type at position {at}")


def _array(text: str, at: int, depth: int) -> tuple[Type, int]:
    if text[at : at + 1] != "{":
        inner, at = _complete(text, at, depth + 1)
        return Type("a", (inner,)), at
    key, at = _complete(text, at + 1, depth + 1)
    value, at = _complete(text, at, depth + 1)
    if key.code not in BASIC or text[at : at + 1] != "}":
        raise InvalidArgs(f"signature {text!r}: a dict entry is one basic key and one value")
    return Type("a", (Type("{", (key, value)),)), at + 1


def _struct(text: str, at: int, depth: int) -> tuple[Type, int]:
    members: list[Type] = []
    while text[at : at + 1] != ")":
        member, at = _complete(text, at, depth + 1)
        members.append(member)
    if not members:
        raise InvalidArgs(f"signature {text!r}: empty struct")
    return Type("(", tuple(members)), at + 1


def check(value: Any, kind: Type) -> None:
    """Raises InvalidArgs unless `value` can be sent as `kind`; nothing is coerced."""
    if kind.code in INTEGERS:
        low, high = INTEGERS[kind.code]
        if type(value) is not int or not low <= value <= high:
            raise InvalidArgs(f"{value!r:.60} is not an integer of type {kind.code}")
    elif not _fits(value, kind):
        raise InvalidArgs(f"{value!r:.60} is not of type {kind}")
    for child, inner in _children(value, kind):
        check(child, inner)


def _fits(value: Any, kind: Type) -> bool:
    match kind.code:
        case "b":
            return type(value) is bool
        case "d":
            return isinstance(value, float)
        case "v":
            return isinstance(value, Variant)
        case "(":
            return isinstance(value, list | tuple) and len(value) == len(kind.children)
        case "a" if kind.is_dict:
            return isinstance(value, dict)
        case "a" if kind.children[0].code == "y":
            return isinstance(value, bytes | bytearray | list | tuple)
        case "a":
            return isinstance(value, list | tuple)
    return isinstance(value, str) and "\0" not in value


def _children(value: Any, kind: Type) -> Iterator[tuple[Any, Type]]:
    if kind.code == "(":
        yield from zip(value, kind.children, strict=True)
    elif kind.code == "v":
        yield value.value, single(value.signature)
    elif kind.is_dict:
        entry = kind.children[0].children
        for key, item in value.items():
            yield key, entry[0]
            yield item, entry[1]
    elif kind.code == "a" and not isinstance(value, bytes | bytearray):
        for item in value:
            yield item, kind.children[0]


def check_body(body: Sequence[Any], signature: str) -> None:
    """Raises InvalidArgs unless `body` is what `signature` announces."""
    types = parse(signature)
    if len(types) != len(body):
        raise InvalidArgs(f"{len(types)} arguments expected, {len(body)} given")
    for value, kind in zip(body, types, strict=True):
        check(value, kind)


_PYTHON = {
    "b": "bool",
    "d": "float",
    "v": "Variant",
    **dict.fromkeys(INTEGERS, "int"),
    **dict.fromkeys(TEXTS, "str"),
}


def python_type(kind: Type) -> str:
    """How generated code spells the Python type of a value of `kind`."""
    if kind.code in _PYTHON:
        return _PYTHON[kind.code]
    if kind.code == "(":
        return "Sequence[Any]"
    if kind.is_dict:
        key, value = kind.children[0].children
        return f"dict[{python_type(key)}, {python_type(value)}]"
    inner = kind.children[0]
    return "bytes" if inner.code == "y" else f"list[{python_type(inner)}]"
