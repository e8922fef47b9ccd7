# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules a second time, as plainly as rules/README.md tells them: what the differential tests compare with.

Uses nothing of the program.  Slow, and knows no errors: it is asked about rules that can be read.
"""

from dataclasses import dataclass, field

PROPERTIES = "org.freedesktop.DBus.Properties"
KINDS = {1: "method-call", 2: "method-return", 3: "error", 4: "signal"}


@dataclass
class Said:
    """A message, as its author would tell it."""

    type: int
    direction: str = "inc"
    fields: dict[str, str] = field(default_factory=dict)  # destination, interface, member, sender, path
    args: list[object] = field(default_factory=list)  # texts and numbers


@dataclass
class Domain:
    domid: int
    uuid: str | None = None
    stubdom: bool = False
    properties: dict[str, object] = field(default_factory=dict)


def verdict(rules: list[str], said: Said, domain: Domain) -> str:
    for rule in reversed(rules):
        words = rule.split()
        if holds(words, said, domain):
            return words[0]
    if said.direction == "out" and not any(rule.startswith("allow out-") for rule in rules):
        return "allow"  # nothing is said about what may go out
    return "deny"


def holds(words: list[str], said: Said, domain: Domain) -> bool:
    deny = words[0] == "deny"
    rest = words[1:]
    subject = rest.pop(0) if rest and rest[0][:4] in ("inc-", "out-") else "inc-any"
    direction, kind = subject.split("-", 1)
    if direction != said.direction or kind not in ("any", KINDS.get(said.type)):
        return False
    asked: list[tuple[str, ...]] = []
    while rest and rest[0] != "all":
        count = 3 if rest[0] == "if-boolean" else 2
        asked.append(tuple(rest[:count]))
        rest = rest[count:]
    last = {one[0]: one for one in asked}
    every = [one for one in asked if one[0] in ("if-boolean", "dom-type", "dom-name")]
    once = [one for one in last.values() if one not in every]
    if "stubdom" not in last and direction == "inc" and domain.stubdom:
        return False
    return all(specifier(one, said, domain, deny) for one in once + every)


def specifier(words: tuple[str, ...], said: Said, domain: Domain, deny: bool) -> bool:
    name, value = words[0], words[1]
    if name == "stubdom":
        return domain.stubdom == (value == "true")
    if name == "dom-id":
        return domain.domid == int(value)
    if name == "dom-uuid":
        return deny if domain.uuid is None else domain.uuid == value
    if name == "if-boolean":
        return of_vm(domain, value, words[2] == "true", deny)
    if name in ("dom-type", "dom-name"):
        return of_vm(domain, name[4:], value, deny)
    return of_message(name, value, said, deny)


def of_vm(domain: Domain, name: str, wanted: object, deny: bool) -> bool:
    value = domain.properties.get(name) if domain.uuid is not None else None
    if not isinstance(value, str | bool):
        return deny
    return type(value) is type(wanted) and value == wanted


def of_message(name: str, value: str, said: Said, deny: bool) -> bool:
    kind = KINDS.get(said.type)
    about_property = (
        kind == "method-call"
        and said.fields.get("member") in ("Get", "Set", "GetAll")
        and said.fields.get("interface") in (None, PROPERTIES)
    )
    if name == "property":
        if not about_property:
            return False
        return one_of(property_of(said), value, deny)
    if name == "arg0":
        return one_of(said.args[0] if said.args and isinstance(said.args[0], str) else None, value, deny)
    if kind == "signal" and name == "destination":
        return True
    if kind in ("method-return", "error") and name in ("interface", "member", "path"):
        return True
    if name == "interface" and about_property:
        about = said.args[0] if said.args and isinstance(said.args[0], str) else ""
        if said.fields.get("interface") is None or not about:
            return deny or said.fields.get("interface") == value
        return value in (about, PROPERTIES)
    return one_of(said.fields.get(name), value, deny)


def property_of(said: Said) -> str | None:
    if said.fields.get("interface") != PROPERTIES or said.fields["member"] == "GetAll":
        return None
    if len(said.args) < 2 or not isinstance(said.args[0], str) or not isinstance(said.args[1], str):
        return None
    return said.args[1] or None


def one_of(has: str | None, wanted: str, deny: bool) -> bool:
    if has is None:
        return deny
    if wanted.endswith("/*") and has.startswith(wanted[: len(wanted) - 1]):
        return True
    return has == wanted
