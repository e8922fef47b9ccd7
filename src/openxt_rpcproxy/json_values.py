# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus values ↔ JSON values, by type.  Pure.

JSON knows less than D-Bus: what a number or an array is comes from a signature, or is guessed.  `null` is no
value of any type.  Source: OpenXT rpc-proxy, 2015 (`--json-in`).
"""

import math
from collections.abc import Sequence
from typing import Any

from openxt_core.errors import InvalidArgs
from openxt_core.signature import INTEGERS, Type, Variant, parse
from openxt_core.spec import Value

MAX_EXACT = 2.0**53
_GUESSES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "b"),  # before int: Python's bool is one
    ((int, float), "u"),
    (str, "s"),
    (list, "ay"),
    (dict, "a{ss}"),
)
_IN_VARIANTS = (bool, int, float, str)


def guessed_signature(args: Sequence[Any]) -> str:
    """What the original took values for when nobody says.  Raises InvalidArgs for null."""
    return "".join(map(_guess, args))


def _guess(value: Any) -> str:
    for kinds, signature in _GUESSES:
        if isinstance(value, kinds):
            return signature
    raise InvalidArgs("null is no value")


def body_from_json(args: Sequence[Any], signature: str) -> list[Value]:
    """Arguments of these types; values beyond the last type are dropped.  Raises InvalidArgs."""
    if "h" in signature:
        raise InvalidArgs("no file descriptor crosses between domains")
    kinds = parse(signature)
    if len(args) < len(kinds):
        raise InvalidArgs(f"{len(kinds)} arguments of types {signature} expected, {len(args)} given")
    return [from_json(value, kind) for value, kind in zip(args, kinds, strict=False)]


def from_json(value: Any, kind: Type) -> Value:
    """Raises InvalidArgs naming value and type.  Ranges, names and paths are the codec's business."""
    code = kind.code
    if code in INTEGERS and _is_number(value):
        return math.floor(value)
    if code == "d" and _is_number(value):
        return _float(value)
    if code == "b" and isinstance(value, bool):
        return value
    if code in "sog" and isinstance(value, str):
        return value
    if code == "v" and isinstance(value, _IN_VARIANTS):
        return _variant(value)
    if kind.is_dict and isinstance(value, dict):
        key, item = kind.children[0].children
        return {_key(text, key): from_json(one, item) for text, one in value.items()}
    if code == "a" and not kind.is_dict and isinstance(value, list):
        return [from_json(one, kind.children[0]) for one in value]
    if code == "(" and isinstance(value, list) and len(value) == len(kind.children):
        return [from_json(one, child) for one, child in zip(value, kind.children, strict=True)]
    raise InvalidArgs(f"{value!r:.60} is not of type {kind}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(_float(value))


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InvalidArgs(f"{value!r:.60} is too large") from None


def _variant(value: bool | float | str) -> Variant:
    signature = _guess(value).replace("u", "i")  # sic: a number in a variant is signed, a guessed one is not
    return Variant(signature, from_json(value, Type(signature)))


def _key(text: str, kind: Type) -> Value:
    """A key of the dictionary; JSON has text only."""
    if kind.code in "sog":
        return text
    if kind.code == "b" and text in ("true", "false"):
        return text == "true"
    try:
        return from_json(float(text) if kind.code == "d" else int(text), kind)
    except ValueError:
        raise InvalidArgs(f"{text!r:.60} is not a key of type {kind}") from None


def to_json(value: Value) -> Any:
    """What a JSON text can hold: variants lose their type, bytes become numbers, keys become text."""
    if isinstance(value, Variant):
        return to_json(value.value)
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {_key_text(key): to_json(item) for key, item in value.items()}
    if isinstance(value, float):
        return _number(value)
    return value


def _number(value: float) -> float | None:
    """Integral values without fraction; what JSON cannot say is null."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) <= MAX_EXACT else value


def _key_text(key: Value) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
