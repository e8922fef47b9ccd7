# SPDX-License-Identifier: GPL-2.0-or-later
"""D-Bus values and interfaces → the text that xec prints.  Pure.

Scripts cut this text at fixed places: widths, signs and line ends are those of the original.
"""

from __future__ import annotations

from openxt_core.signature import Variant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from openxt_xec.introspection import Interface, Method, Property

DICT_KEY_WIDTH = 30
PROPERTY_WIDTH = 35
MEMBER_WIDTH = 28


def show(value: Any) -> str:
    """A value without its last line end.  Types are told by their Python classes (`ay` is bytes)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Variant):
        return show(value.value)
    if isinstance(value, float):
        return _double(value)
    if isinstance(value, bytes):
        return _octets(value)
    if isinstance(value, dict):
        return _block(value, DICT_KEY_WIDTH)
    if isinstance(value, list | tuple):
        return "\n".join(map(show, value))
    return str(value)


def _block(entries: Mapping[Any, Any], width: int) -> str:
    lines = (f"  {quoted(show(key)):<{width}} = {show(value)}\n" for key, value in entries.items())
    return "{\n" + "".join(lines) + "}"


def quoted(text: str) -> str:
    return f'"{text}"'


def _octets(data: bytes) -> str:
    """Bytes that are not printable ASCII as decimal numbers.  Source: `show` of Haskell's strings."""
    out = []
    for at, byte in enumerate(data):
        is_plain = 0x20 <= byte < 0x7F
        after_number = at > 0 and not 0x20 <= data[at - 1] < 0x7F
        if is_plain and after_number and chr(byte).isdigit():
            out.append("\\&")  # keeps the digit apart from the number before it
        if chr(byte) in '"\\':
            out.append("\\")
        out.append(chr(byte) if is_plain else f"\\{byte}")
    return quoted("".join(out))


def _double(value: float) -> str:
    """The shortest digits that read back the same; with an exponent below 0.1 and from 1.0e7 on."""
    size = abs(value)
    if value != value:
        return "NaN"
    if size == float("inf"):
        return "Infinity" if value > 0 else "-Infinity"
    if size == 0 or 0.1 <= size < 1e7:
        return repr(value)
    return ("-" if value < 0 else "") + _scientific(size)


def _scientific(size: float) -> str:
    mantissa, _, exponent = repr(size).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading_zeros = len(whole + fraction) - len(digits)
    power = int(exponent or 0) + len(whole) - 1 - leading_zeros
    digits = digits.rstrip("0")
    return f"{digits[0]}.{digits[1:] or '0'}e{power}"


def show_properties(interface: str, values: Mapping[str, Any]) -> str:
    """The block of `getall`, with its last line end."""
    return f"{interface}\n{_block(values, PROPERTY_WIDTH)}\n"


def show_names(names: Iterable[str]) -> str:
    """One name a line."""
    return "".join(f"{name}\n" for name in names)


def dashed(name: str) -> str:
    """A method's name as it is typed."""
    return name.replace("_", "-")


def show_interfaces(interfaces: Sequence[Interface]) -> str:
    """All members of an object; the line after the last one is empty."""
    return "\n".join(map(_interface, interfaces)) + "\n"


def _interface(interface: Interface) -> str:
    properties = map(_property, interface.properties.values())
    methods = map(_method, interface.methods.values())
    return "".join((f"/------- {interface.name}\n", *properties, *methods))


def _property(one: Property) -> str:
    return f"|     -  {one.name:<{MEMBER_WIDTH}} {one.access}:{one.type}\n"


def _method(one: Method) -> str:
    ins = [f"{name}:{kind}" for name, kind in one.ins]
    outs = [f"OUT {name}:{kind}" for name, kind in one.outs]
    return f"|     +  {dashed(one.name):<{MEMBER_WIDTH}} ( {', '.join(ins + outs)} )\n"


def members(interface: Interface) -> dict[str, Any]:
    """Properties and methods as plain data, for JSON."""
    return {
        "properties": {p.name: {"type": p.type, "access": p.access} for p in interface.properties.values()},
        "methods": {m.name: {"in": _args(m.ins), "out": _args(m.outs)} for m in interface.methods.values()},
    }


def _args(args: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in args]
