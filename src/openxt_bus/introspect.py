# SPDX-License-Identifier: GPL-2.0-or-later
"""Interface tables → introspection XML, and the tables of the standard interfaces.  Pure.

Source: D-Bus specification 1.0, "Introspection Data Format" and "Standard Interfaces".
"""

from collections.abc import Iterable
from html import escape

from openxt_core.spec import Arg, Interface, Method, Property, Signal

DOCTYPE = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    '"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)

INTROSPECTABLE = Interface(
    "org.freedesktop.DBus.Introspectable",
    methods=(Method("Introspect", outs=(Arg("xml_data", "s"),)),),
)
PEER = Interface(
    "org.freedesktop.DBus.Peer",
    methods=(Method("Ping"), Method("GetMachineId", outs=(Arg("machine_uuid", "s"),))),
)
_INTERFACE, _NAME = Arg("interface_name", "s"), Arg("property_name", "s")
PROPERTIES = Interface(
    "org.freedesktop.DBus.Properties",
    methods=(
        Method("Get", (_INTERFACE, _NAME), (Arg("value", "v"),)),
        Method("Set", (_INTERFACE, _NAME, Arg("value", "v"))),
        Method("GetAll", (_INTERFACE,), (Arg("properties", "a{sv}"),)),
    ),
    signals=(
        Signal(
            "PropertiesChanged",
            (_INTERFACE, Arg("changed_properties", "a{sv}"), Arg("invalidated_properties", "as")),
        ),
    ),
)
_OBJECT = Arg("object_path", "o")
OBJECT_MANAGER = Interface(
    "org.freedesktop.DBus.ObjectManager",
    methods=(Method("GetManagedObjects", outs=(Arg("objects", "a{oa{sa{sv}}}"),)),),
    signals=(
        Signal("InterfacesAdded", (_OBJECT, Arg("interfaces_and_properties", "a{sa{sv}}"))),
        Signal("InterfacesRemoved", (_OBJECT, Arg("interfaces", "as"))),
    ),
)


def interface_xml(spec: Interface) -> str:
    """One `<interface>` element with everything the table names."""
    lines = [f"  <interface name={_quoted(spec.name)}>"]
    lines += map(_method, spec.methods)
    lines += map(_signal, spec.signals)
    lines += map(_property, spec.properties)
    return "\n".join([*lines, "  </interface>\n"])


def document(interfaces_xml: str, children: Iterable[str]) -> str:
    """The answer to Introspect: ready-made interfaces, and the names of the nodes below."""
    nodes = "".join(f"  <node name={_quoted(name)}/>\n" for name in children)
    return f"{DOCTYPE}<node>\n{interfaces_xml}{nodes}</node>\n"


def _method(method: Method) -> str:
    ins = "".join(_arg(arg, ' direction="in"') for arg in method.ins)
    outs = "".join(_arg(arg, ' direction="out"') for arg in method.outs)
    return f"    <method name={_quoted(method.name)}>{ins}{outs}</method>"


def _signal(signal: Signal) -> str:
    args = "".join(_arg(arg, "") for arg in signal.args)
    return f"    <signal name={_quoted(signal.name)}>{args}</signal>"


def _arg(arg: Arg, direction: str) -> str:
    name = f" name={_quoted(arg.name)}" if arg.name else ""
    return f"<arg{name} type={_quoted(arg.type)}{direction}/>"


def _property(row: Property) -> str:
    name, kind, access = map(_quoted, (row.name, row.type, row.access))
    return f"    <property name={name} type={kind} access={access}/>"


def _quoted(value: str) -> str:
    return f'"{escape(value)}"'
