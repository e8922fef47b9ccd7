# SPDX-License-Identifier: GPL-2.0-or-later
"""v4v firewall rules: their grammar and canonical text.  Pure; nothing here applies one.

    rule     := endpoint "->" endpoint
    endpoint := domain [":" port | ":*"]
    domain   := "*" | "myself" | "my-stubdom" | "myself-if-seamless" | "seamless"
              | "dom-type=" name | "dom-name=" name | domid | uuid

Blanks may stand around every part, or nowhere.  Source: OpenXT xenmgr-core, 2015; accepts more than it
(no blanks needed after a uuid, domids other than 0, upper case, dashes and blanks in names) and refuses
what it silently ignored (text after the rule, ports above 2^32-1).
"""

import re
from dataclasses import dataclass

from openxt_core.errors import RuleParseError

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ENDPOINT = re.compile(
    r"(?P<domain>\*|myself-if-seamless|my-stubdom|myself|seamless"
    rf"|dom-(?:type|name)=[^\s:](?:[^:]*[^\s:])?|{_UUID}|[0-9]+)"
    r"(?:\s*:\s*(?P<port>[0-9]+|\*))?",
    re.IGNORECASE,
)
_WORDS_LOWERED = re.compile(r"dom-name=", re.IGNORECASE)
MAX_PORT = 2**32 - 1
MAX_DOMID = 0x7FEF  # the next numbers are Xen's own


@dataclass(frozen=True, slots=True)
class Endpoint:
    domain: str
    port: int | None = None  # None: any

    def __str__(self) -> str:
        return self.domain if self.port is None else f"{self.domain}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rule:
    source: Endpoint
    target: Endpoint

    def __str__(self) -> str:
        """The canonical text."""
        return f"{self.source} -> {self.target}"

    def reversed(self) -> "Rule":
        """For what comes back: each packet of a connection is checked by itself."""
        return Rule(self.target, self.source)


def parse_rule(text: str) -> Rule:
    """Raises RuleParseError (237) saying what cannot be read."""
    source, arrow, target = text.partition("->")
    if not arrow:
        raise RuleParseError(f"no '->' in the v4v rule {text[:80]!r}")
    return Rule(_endpoint(source, text), _endpoint(target, text))


def _endpoint(part: str, rule: str) -> Endpoint:
    found = _ENDPOINT.fullmatch(part.strip())
    if found is None:
        raise RuleParseError(f"cannot read {part.strip()[:60]!r} in the v4v rule {rule[:80]!r}")
    port = found["port"]
    if port not in (None, "*") and int(port) > MAX_PORT:
        raise RuleParseError(f"port {port[:20]} is too large in the v4v rule {rule[:80]!r}")
    if found["domain"].isdecimal() and int(found["domain"]) > MAX_DOMID:
        raise RuleParseError(f"there is no domain {found['domain'][:20]}: {rule[:80]!r}")
    return Endpoint(_lowered(found["domain"]), None if port in (None, "*") else int(port))


def _lowered(domain: str) -> str:
    """Words in lower case; the name of a VM keeps its own."""
    if _WORDS_LOWERED.match(domain):
        return "dom-name=" + domain[len("dom-name=") :]
    return domain.lower()
