# SPDX-License-Identifier: GPL-2.0-or-later
"""Find names of an interface file that cannot be, or would hide one another, in generated Python.  Pure.

Nothing is renamed behind the author's back: a clash is an error, since D-Bus dispatch and
callers find members by name.
"""

from collections.abc import Iterable
from keyword import iskeyword

from openxt_core.spec import IdlFile, Interface, attribute
from openxt_idl.names import class_name, constant, enum_class, property_suffix
from openxt_idl.read import IdlError

BUILTIN_TYPES = ("bool", "bytes", "dict", "float", "int", "list", "str", "tuple")
ANNOTATIONS = ("Any", "MaybeAwaitable", "Sequence", "Variant", "builtins")  # looked up inside classes
MODULE_NAMES = (
    *BUILTIN_TYPES, *ANNOTATIONS, "Arg", "Client", "Enum", "EnumValue", "FILE", "IdlFile", "IntEnum",
    "Interface", "Method", "NotSupported", "Property", "Service", "Signal", "Signals", "StrEnum",
)  # fmt: skip
BASE_NAMES = ("SPEC", *ANNOTATIONS)
SERVICE_NAMES = (*BASE_NAMES, "call", "get_property", "set_property", "get_all")
CLIENT_NAMES = (
    *BASE_NAMES, "get_property", "set_property", "get_all", "_ask", "_caller", "_destination",
    "_interface", "_invoke", "_is_value_of", "_odd_reply", "_path", "_timeout_s",
)  # fmt: skip
SIGNALS_NAMES = (*BASE_NAMES, "_emit", "_emitter", "_path")
ENUM_NAMES = ("mro", "name", "value")


def check_names(file: IdlFile) -> None:
    """Raises IdlError that names the first clash, if there is one."""
    enums = [enum_class(enum.name) for enum in file.enums]
    _distinct(file.name, [*MODULE_NAMES, *enums, *_module_names(file.interfaces)])
    for enum in file.enums:
        suffixes = [attribute(value.suffix) for value in enum.values]
        _distinct(enum.name, [*ENUM_NAMES, *suffixes])
        if any(suffix.startswith("_") for suffix in suffixes):
            raise IdlError(f"{enum.name}: a value's name cannot begin with _ in Python")
    for interface in file.interfaces:
        methods = [attribute(method.name) for method in interface.methods]
        signals = [attribute(signal.name) for signal in interface.signals]
        _distinct(interface.name, [*SERVICE_NAMES, *methods])
        _distinct(interface.name, [*CLIENT_NAMES, *methods, *_accessors(interface)])
        _distinct(interface.name, [*SIGNALS_NAMES, *signals])


def _module_names(interfaces: Iterable[Interface]) -> Iterable[str]:
    for interface in interfaces:
        name = class_name(interface.name)
        yield from (constant(interface.name), name, f"{name}Client")
        if interface.signals:
            yield f"{name}Signals"


def _accessors(interface: Interface) -> Iterable[str]:
    for prop in interface.properties:
        suffix = property_suffix(prop.name)
        yield from ([f"get_{suffix}"] if prop.readable else [])
        yield from ([f"set_{suffix}"] if prop.writable else [])


def _distinct(where: str, found: list[str]) -> None:
    """Raises IdlError unless all names differ and can stand in a class, where `__x` is changed."""
    for name in found:
        if not name.isidentifier() or iskeyword(name) or name.startswith("__"):
            raise IdlError(f"{where}: something would be called {name!r}, which Python does not allow")
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise IdlError(f"{where}: two things would be called {twice[0]} in Python")
