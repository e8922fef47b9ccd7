# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether one rule matches whatever another one matches.  Pure.

Sound, not complete: what it says is so; what it does not say may be so all the same.
"""

from openxt_rpcproxy.rules.decide import covers
from openxt_rpcproxy.rules.model import BELOW, POSSIBLE, Direction, Rule, Verdict


def includes(wide: Rule, narrow: Rule) -> bool:
    """Every message that matches `narrow` matches `wide`."""
    return (
        wide.direction is narrow.direction
        and wide.kind in (None, narrow.kind)
        and _same_domains(wide, narrow)
        and set(wide.properties) <= set(narrow.properties)
        and all(_includes_value(name, value, narrow) for name, value in wide.wanted.items())
        and not _misses_what_lacks_something(wide, narrow)
    )


def _same_domains(wide: Rule, narrow: Rule) -> bool:
    return (
        _stubdom(wide) in (None, _stubdom(narrow))
        and wide.dom_id in (None, narrow.dom_id)
        and wide.dom_uuid in (None, narrow.dom_uuid)
    )


def _stubdom(rule: Rule) -> bool | None:
    """Of what guests say, a rule without the word is about ordinary domains."""
    return False if rule.stubdom is None and rule.direction is Direction.INCOMING else rule.stubdom


def _includes_value(name: str, value: str, narrow: Rule) -> bool:
    if narrow.kind is not None and name not in POSSIBLE[narrow.kind]:
        return True  # neither rule compares it
    wanted = narrow.wanted.get(name)
    if wanted is None or wanted == value:
        return wanted is not None
    if name not in ("path", "arg0"):
        return False
    if wanted.endswith(BELOW):
        return value.endswith(BELOW) and wanted.startswith(value[:-1])
    return covers(value, wanted)


def _misses_what_lacks_something(wide: Rule, narrow: Rule) -> bool:
    """A deny matches what lacks the thing it names, an allow does not."""
    names_something = bool(wide.wanted or wide.properties or wide.dom_uuid)
    return narrow.verdict is Verdict.DENY and wide.verdict is Verdict.ALLOW and names_something
