# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables → interface file, for tests that read back what was written; and random tables."""

from collections.abc import Callable, Iterable
from xml.etree import ElementTree

from hypothesis import strategies as st

from openxt_core.signature import INTEGERS
from openxt_core.spec import Arg, Enum, EnumValue, IdlFile, Interface, Method, Property, Signal
from openxt_idl.read import DOC, ENUM, VALUE


def xml_tree(file: IdlFile) -> ElementTree.Element:
    root = ElementTree.Element("node", {"name": file.node} if file.node else {})
    _doc(root, file.doc)
    for enum in file.enums:
        _enum(root, enum)
    for interface in file.interfaces:
        element = ElementTree.SubElement(root, "interface", name=interface.name)
        _doc(element, interface.doc)
        _members(element, interface)
    return root


def xml_text(file: IdlFile) -> bytes:
    return ElementTree.tostring(xml_tree(file), encoding="utf-8")


def _enum(root: ElementTree.Element, enum: Enum) -> None:
    element = ElementTree.SubElement(root, ENUM, name=enum.name, type=enum.type)
    _doc(element, enum.doc)
    for value in enum.values:
        text = str(value.value).lower() if enum.type == "b" else str(value.value)
        _doc(ElementTree.SubElement(element, VALUE, suffix=value.suffix, value=text), value.doc)


def _members(parent: ElementTree.Element, interface: Interface) -> None:
    for method in interface.methods:
        element = ElementTree.SubElement(parent, "method", name=method.name)
        _doc(element, method.doc)
        _args(element, method.ins, "in")
        _args(element, method.outs, "out")
    for prop in interface.properties:
        element = ElementTree.SubElement(
            parent, "property", name=prop.name, type=prop.type, access=prop.access
        )
        _doc(element, prop.doc)
    for signal in interface.signals:
        element = ElementTree.SubElement(parent, "signal", name=signal.name)
        _doc(element, signal.doc)
        _args(element, signal.args, "")


def _args(parent: ElementTree.Element, args: Iterable[Arg], direction: str) -> None:
    for arg in args:
        known = {"name": arg.name, "type": arg.type, "direction": direction}
        ElementTree.SubElement(parent, "arg", {key: value for key, value in known.items() if value})


def _doc(parent: ElementTree.Element, text: str) -> None:
    if text:
        ElementTree.SubElement(parent, DOC).text = text


# random tables

words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
prose = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=30).map(
    lambda text: " ".join(text.split())
)
basic = st.sampled_from([*INTEGERS, "b", "d", "s", "o", "g"])
types = st.recursive(
    st.one_of(basic, st.just("v")),
    lambda inner: st.one_of(
        inner.map(lambda one: f"a{one}"),
        st.tuples(basic, inner).map(lambda pair: f"a{{{pair[0]}{pair[1]}}}"),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: f"({''.join(many)})"),
    ),
    max_leaves=5,
)


def tuples(items: st.SearchStrategy, name: Callable = lambda item: item.name) -> st.SearchStrategy:
    return st.lists(items, max_size=3, unique_by=name).map(tuple)


named_args = tuples(st.builds(Arg, words, types))
args = st.one_of(named_args, st.lists(st.builds(Arg, st.just(""), types), max_size=2).map(tuple))
property_names = st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True)
interfaces = st.builds(
    Interface,
    st.lists(words, min_size=2, max_size=4).map(".".join),
    tuples(st.builds(Method, words, args, args, prose)),
    tuples(
        st.builds(Property, property_names, types, st.sampled_from(["read", "write", "readwrite"]), prose)
    ),
    tuples(st.builds(Signal, words, args, prose)),
    prose,
)


def _enums(kind: str) -> st.SearchStrategy:
    low, high = INTEGERS.get(kind, (0, 0))
    plain = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=9)
    value = {"s": plain, "b": st.booleans()}.get(kind, st.integers(low, high))
    values = tuples(st.builds(EnumValue, words, value, prose), lambda each: each.suffix)
    return st.builds(Enum, words, st.just(kind), values, prose)


enums = st.sampled_from("sbynqiuxt").flatmap(_enums)
files = st.builds(
    IdlFile,
    st.just("example"),
    st.sampled_from(["", "/", "/vm/uuid"]),
    tuples(interfaces),
    tuples(enums),
    prose,
)
