# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus type strings: split them, check a value against one, name the Python type.  Pure.

Source: D-Bus specification 1.0, "Type System"; limits from "Valid Signatures".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from openxt_core.errors import InvalidArgs

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


@dataclass(frozen=True, slots=True)
class Variant:
    """A value that carries its own type."""

    signature: str
    value: Any


@dataclass(frozen=True, slots=True)
class Type:
    """One complete type.  `code` is a type letter, `(` for a struct, `{` for a dict entry."""

    code: str
    children: tuple["Type", ...] = ()

    def __str__(self) -> str:
        inner = "".join(map(str, self.children))
        closing = {"(": ")", "{": "}"}.get(self.code, "")
        return f"{self.code}{inner}{closing}"

    @property
    def is_dict(self) -> bool:
        return self.code == "a" and self.children[0].code == "{"


@lru_cache(maxsize=1024)
def parse(signature: str) -> tuple[Type, ...]:
    """The complete types of a signature.  Raises InvalidArgs naming what is wrong."""
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
