#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the golden messages: for each member of each interface file, as D-Bus bytes and as JSON.

Made with GLib's D-Bus implementation and the standard library's JSON, and none of the project's own code,
so that they can judge it.  Needs Debian's python3-gi.  Usage: make.py IDL_FOLDER OUT_FOLDER
"""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

from gi.repository import Gio, GLib

PATH, DESTINATION, SENDER = "/golden/1", "com.example.golden", ":1.7"
PROPERTIES = "org.freedesktop.DBus.Properties"
TEXTS = {"s": ["text ü", ""], "o": ["/a/b_1", "/"], "g": ["a{sv}", ""]}
NUMBERS = {
    "y": [7, 255],
    "n": [-2, 32767],
    "q": [65535, 0],
    "i": [-5, 2147483647],
    "u": [4000000000, 1],
    "x": [-1099511627776, 3],
    "t": [9007199254740991, 0],
    "d": [1.5, -0.25],
    "b": [True, False],
}


def types(signature: str) -> list[str]:
    """The complete types of a signature."""
    found, start = [], 0
    for end in range(1, len(signature) + 1):
        if GLib.VariantType.string_is_valid(signature[start:end]):
            found.append(signature[start:end])
            start = end
    return found


def sample(kind: str, which: int = 0) -> tuple[GLib.Variant, object]:
    """A value of a type, and how JSON says it."""
    if kind in TEXTS:
        return GLib.Variant(kind, TEXTS[kind][which]), TEXTS[kind][which]
    if kind in NUMBERS:
        return GLib.Variant(kind, NUMBERS[kind][which]), NUMBERS[kind][which]
    if kind == "v":
        inner, plain = sample("s", which)
        return GLib.Variant.new_variant(inner), plain
    if kind.startswith("a{"):
        key, value = kind[2], kind[3:-1]
        keys, values = [sample(key, n) for n in (0, 1)], [sample(value, n) for n in (0, 1)]
        entries = [GLib.Variant.new_dict_entry(k[0], v[0]) for k, v in zip(keys, values, strict=True)]
        plain = {str(k[1]): v[1] for k, v in zip(keys, values, strict=True)}
        return GLib.Variant.new_array(GLib.VariantType.new(kind[1:]), entries), plain
    if kind.startswith("a"):
        items = [sample(kind[1:], n) for n in (0, 1)]
        variants = [item[0] for item in items]
        return GLib.Variant.new_array(GLib.VariantType.new(kind[1:]), variants), [i[1] for i in items]
    members = [sample(each, which) for each in types(kind[1:-1])]
    return GLib.Variant.new_tuple(*[m[0] for m in members]), [m[1] for m in members]


def line(serial: int, message: Gio.DBusMessage, signature: str, about: dict, text: dict) -> str:
    values = [sample(kind) for kind in types(signature)]
    return finished(serial, message, values, about, text)


def finished(serial: int, message: Gio.DBusMessage, values: list, about: dict, text: dict) -> str:
    if values:
        message.set_body(GLib.Variant.new_tuple(*[value[0] for value in values]))
    message.set_byte_order(Gio.DBusMessageByteOrder.LITTLE_ENDIAN)
    message.set_serial(serial)
    row = {
        **about,
        "dbus": message.to_blob(Gio.DBusCapabilityFlags.NONE).hex(),
        "json": {"id": serial, **text, "args": [value[1] for value in values]},
    }
    return json.dumps(row, ensure_ascii=False)


def call(interface: str, member: str) -> tuple[Gio.DBusMessage, dict]:
    where = {"destination": DESTINATION, "path": PATH, "interface": interface, "method": member}
    return Gio.DBusMessage.new_method_call(DESTINATION, PATH, interface, member), {"type": "request", **where}


def reply(to: int) -> tuple[Gio.DBusMessage, dict]:
    message = Gio.DBusMessage()
    message.set_message_type(Gio.DBusMessageType.METHOD_RETURN)
    message.set_reply_serial(to)
    return message, {"type": "response", "response-to": str(to)}


def signal(interface: str, member: str) -> tuple[Gio.DBusMessage, dict]:
    where = {"interface": interface, "member": member, "path": PATH}
    return Gio.DBusMessage.new_signal(PATH, interface, member), {"type": "signal", **where}


def lines(interface: ElementTree.Element):
    """One line for each call, reply, signal, and each way a property travels."""
    name, serial = interface.get("name"), 0
    for element in interface:
        member, serial = element.get("name"), serial + 1
        about = {"interface": name, "member": member}
        args = dict.fromkeys(("in", "out"), "")
        for arg in element.findall("arg"):
            args[arg.get("direction", "in")] += arg.get("type")
        if element.tag == "method":
            yield line(serial, *split(call(name, member), args["in"], {**about, "form": "call"}))
            yield line(serial, *split(reply(serial), args["out"], {**about, "form": "reply"}))
        elif element.tag == "signal":
            signature = args["in"] + args["out"]
            yield line(serial, *split(signal(name, member), signature, {**about, "form": "signal"}))
        elif element.tag == "property":
            yield from property_lines(serial, element, about)


def split(made: tuple[Gio.DBusMessage, dict], signature: str, about: dict) -> tuple:
    message, text = made
    return message, signature, about, text


def property_lines(serial: int, element: ElementTree.Element, about: dict):
    value, plain = sample(element.get("type"))
    inner = (GLib.Variant.new_variant(value), plain)
    words = [(GLib.Variant("s", word), word) for word in (about["interface"], about["member"])]
    if element.get("access") != "write":
        message, text = call(PROPERTIES, "Get")
        yield finished(serial, message, words, {**about, "form": "get"}, text)
        message, text = reply(serial)
        yield finished(serial, message, [inner], {**about, "form": "value"}, text)
    if element.get("access") != "read":
        message, text = call(PROPERTIES, "Set")
        yield finished(serial, message, [*words, inner], {**about, "form": "set"}, text)


def main(idl: str, out: str) -> None:
    for path in sorted(Path(idl).glob("*.xml")):
        root = ElementTree.parse(path).getroot()
        found = [text for interface in root.findall("interface") for text in lines(interface)]
        (Path(out) / f"{path.stem}.jsonl").write_text("".join(f"{text}\n" for text in found))


if __name__ == "__main__":
    main(*sys.argv[1:])
