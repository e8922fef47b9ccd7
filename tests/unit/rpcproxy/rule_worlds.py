# SPDX-License-Identifier: GPL-2.0-or-later
"""Random rules, messages and domains from few words, so that they often concern each other."""

import random
from collections.abc import Sequence

from dbus_fast import Message as TheirMessage
from dbus_fast import MessageType as TheirType
from hypothesis import strategies as st
from naive_rules import PROPERTIES, Domain, Said

from openxt_core.ids import Domid, parse_uuid
from openxt_rpcproxy.rules.model import Direction, Facts, Kind, Source, is_property_call

UUIDS = ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b811-9dad-11d1-80b4-00c04fd430c8")
NAMES = ("a.A", "a.B")
INTERFACES = ("i.I", "i.J", PROPERTIES)
MEMBERS = ("m", "n", "Get", "Set", "GetAll")
PATHS = ("/", "/x", "/x/y", "/xy")
PROPERTY_NAMES = ("memory", "name")
SUBJECTS = ["", *(f"{way}-{kind}" for way in ("inc", "out") for kind in (*list(Kind)[:4], "any"))]

_VALUES: dict[str, Sequence[str]] = {
    "destination": NAMES,
    "interface": INTERFACES,
    "member": MEMBERS,
    "sender": NAMES,
    "path": (*PATHS, "/x/*", "/*"),
    "property": PROPERTY_NAMES,
    "arg0": (*PATHS, "/x/*", "i.I", "i.J", "text"),
    "dom-uuid": UUIDS,
    "dom-id": ("7", "8"),
    "dom-type": ("svm", "ndvm"),
    "dom-name": ("one",),
    "stubdom": ("true", "false"),
    "if-boolean": ("flag true", "flag false", "other true"),
}
_PROPERTIES_OF_VM: dict[str, Sequence[object]] = {
    "type": ("svm", "ndvm", True),
    "name": ("one", "two"),
    "flag": (True, False, "true"),
}
_FIELDS = {"destination": NAMES, "interface": INTERFACES, "member": MEMBERS, "sender": NAMES, "path": PATHS}
_ARGS: Sequence[object] = ("i.I", "i.J", "memory", "name", "text", "", "/x", "/x/y", 5)

_likely = ["destination", "interface", "member", "interface", "member", *_VALUES]
specifiers = st.sampled_from([f"{name} {value}" for name in _likely for value in _VALUES[name]])
rule_texts = st.builds(
    lambda verdict, subject, rest: " ".join(filter(None, (verdict, subject, *rest))),
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["", "", "inc-any", *SUBJECTS]),
    st.one_of(st.just(["all"]), st.lists(specifiers, max_size=3), st.lists(specifiers, max_size=3)),
)
rule_lists = st.lists(rule_texts, max_size=6)

domains = st.builds(
    Domain,
    st.sampled_from([7, 8]),
    st.sampled_from([UUIDS[0], UUIDS[0], UUIDS[1], None]),
    st.sampled_from([False, False, True]),
    st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(values) for name, values in _PROPERTIES_OF_VM.items()}
    ),
)
_fields = {name: st.sampled_from(values) for name, values in _FIELDS.items()}
messages = st.builds(
    Said,
    st.sampled_from([1, 1, 1, 1, 2, 3, 4, 4, 5]),
    st.sampled_from(["inc", "inc", "out"]),
    st.one_of(st.fixed_dictionaries({}, optional=_fields), st.fixed_dictionaries(_fields)),
    st.lists(st.sampled_from(_ARGS), max_size=3),
)


def source_of(domain: Domain) -> Source:
    uuid = parse_uuid(domain.uuid) if domain.uuid is not None else None
    return Source(Domid(domain.domid), uuid, domain.stubdom)


def facts_of(said: Said, domain: Domain) -> Facts:
    """The facts of a message, put together without its bytes."""
    kind = {1: Kind.CALL, 2: Kind.RETURN, 3: Kind.ERROR, 4: Kind.SIGNAL}.get(said.type, Kind.OTHER)
    known = dict(said.fields)
    interface, member = known.get("interface", ""), known.get("member", "")
    is_property = is_property_call(kind, interface, member)
    is_text = bool(said.args) and isinstance(said.args[0], str)
    if is_text:
        known["arg0"] = str(said.args[0])
    is_named = is_property and interface == PROPERTIES and is_text
    if is_named and member != "GetAll" and len(said.args) > 1 and isinstance(said.args[1], str):
        known |= {"property": said.args[1]} if said.args[1] else {}
    about = str(said.args[0]) if is_named else ""
    return Facts(Direction(said.direction), kind, source_of(domain), known, is_property, about)


def marshalled(said: Said, order: str = "<", serial: int = 7, answers: int = 9) -> bytes:
    """The message in either byte order; where it can, by a codec that is not ours."""
    if order == "<" and _is_whole(said):
        return _theirs(said, serial, answers)
    return _by_hand(said, serial, answers, order)


def _theirs(said: Said, serial: int, answers: int) -> bytes:
    signature = "".join("s" if isinstance(arg, str) else "u" for arg in said.args)
    message = TheirMessage(
        message_type=TheirType(said.type),
        serial=serial,
        signature=signature,
        body=list(said.args),
        reply_serial=answers if said.type in (2, 3) else 0,
        error_name="a.E" if said.type == 3 else None,
        **said.fields,
    )
    return bytes(message._marshall(False))


def _is_whole(said: Said) -> bool:
    """Whether a codec takes it that checks what a message must have, and leaves the sender to the bus."""
    needed = {1: ("path", "member"), 4: ("path", "member", "interface")}.get(said.type, ())
    return said.type <= 4 and "sender" not in said.fields and all(name in said.fields for name in needed)


_CODES = {"path": 1, "interface": 2, "member": 3, "destination": 6, "sender": 7}


def _by_hand(said: Said, serial: int, answers: int, order: str) -> bytes:
    """Source: D-Bus specification 1.0, "Message Format"."""
    little = "little" if order == "<" else "big"

    def number(value: int) -> bytes:
        return value.to_bytes(4, little)

    def text(value: str) -> bytes:
        return number(len(value.encode())) + value.encode() + b"\0"

    fields = b""
    for name, value in said.fields.items():
        fields += b"\0" * (-len(fields) % 8)
        fields += bytes([_CODES[name], 1]) + (b"o" if name == "path" else b"s") + b"\0" + text(value)
    if said.type in (2, 3):
        fields += b"\0" * (-len(fields) % 8)
        fields += bytes([5, 1]) + b"u\0" + number(answers)
    signature = "".join("s" if isinstance(arg, str) else "u" for arg in said.args)
    if signature:
        fields += b"\0" * (-len(fields) % 8)
        fields += bytes([8, 1]) + b"g\0" + bytes([len(signature)]) + signature.encode() + b"\0"
    body = b""
    for arg in said.args:
        body += b"\0" * (-len(body) % 4)
        body += text(arg) if isinstance(arg, str) else number(int(str(arg)))
    mark = b"l" if order == "<" else b"B"
    head = mark + bytes([said.type, 0, 1]) + number(len(body)) + number(serial) + number(len(fields))
    return head + fields + b"\0" * (-len(fields) % 8) + body


def random_rule(rng: random.Random) -> str:
    words = [rng.choice(["allow", "deny"]), rng.choice(["", "", "inc-any", *SUBJECTS])]
    if rng.random() < 0.2:
        return " ".join([*words, "all"])
    for name in rng.choices(_likely, k=rng.randrange(4)):
        words += [name, rng.choice(_VALUES[name])]
    return " ".join(words)


def random_domain(rng: random.Random) -> Domain:
    chosen = {name: rng.choice(values) for name, values in _PROPERTIES_OF_VM.items() if rng.random() < 0.7}
    uuid = rng.choice([UUIDS[0], UUIDS[0], UUIDS[1], None])
    return Domain(rng.choice([7, 8]), uuid, rng.random() < 0.3, chosen)


def random_message(rng: random.Random) -> Said:
    if rng.random() < 0.3:
        fields = {"destination": rng.choice(NAMES), "interface": PROPERTIES, "path": rng.choice(PATHS)}
        fields["member"] = rng.choice(["Get", "Set", "GetAll"])
        return Said(1, "inc", fields, [rng.choice(["i.I", "i.J", ""]), rng.choice(PROPERTY_NAMES)])
    chance = rng.choice([1.0, 1.0, 0.6])
    fields = {name: rng.choice(values) for name, values in _FIELDS.items() if rng.random() < chance}
    kind = rng.choice([1, 1, 1, 1, 2, 3, 4, 4, 5])
    return Said(kind, rng.choice(["inc", "inc", "out"]), fields, rng.choices(_ARGS, k=rng.randrange(4)))


def random_messages(rng: random.Random, count: int) -> list[Said]:
    """Half of them differ from an earlier one in nothing but their arguments."""
    some: list[Said] = []
    for _ in range(count):
        some.append(_sibling(rng, rng.choice(some)) if some and rng.random() < 0.5 else random_message(rng))
    return some


def _sibling(rng: random.Random, said: Said) -> Said:
    """With the same header: of the same types."""
    texts = [arg for arg in _ARGS if isinstance(arg, str)]
    args = [rng.choice(texts) if isinstance(arg, str) else arg for arg in said.args]
    return Said(said.type, said.direction, said.fields, args)
