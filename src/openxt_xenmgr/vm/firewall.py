# SPDX-License-Identifier: GPL-2.0-or-later
"""Keep viptables as the v4v rules of the running VMs want it.

What stands is remembered, and compared with what should: only the difference is carried out, so the order of
starts and stops does not matter.  A start of xenmgr builds everything anew.  While the host has no viptables,
rules are worked out and shown all the same; that nobody enforces them is said in the log and in `status`.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from openxt_core.errors import BadRequest, OpenxtError, RuleParseError
from openxt_core.ids import Domid, Uuid
from openxt_core.v4v_rules import Rule, parse_rule
from openxt_xenmgr.host import programs
from openxt_xenmgr.properties.config import setting
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm import argo_openings as words
from openxt_xenmgr.vm.argo_openings import Opening, Openings, Reason, Speaker, openings_of
from openxt_xenmgr.vm.launch import seamless_traffic
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.rules import V4V_KEY
from openxt_xenmgr.vm.tree import items
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

PROGRAM = "viptables"
SETTING = "v4v-firewall"
NOT_ENFORCED = "there is no viptables on this host: v4v rules are shown, but nothing enforces them"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plan: whose rule, and the words of viptables; none for a rule that opens nothing."""

    rule: str
    owner: str
    command: tuple[str, ...] = ()


class Firewall:
    """Raises IoError (223) when viptables fails, Unavailable when it or the database does not answer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = asyncio.Lock()
        self._begun = False
        self._program: str | None = None
        self._standing: Openings | None = None  # None: the base rules are not there
        self._known: dict[Uuid, Speaker] = {}  # as it was when it was looked at last
        self._changes = 0  # of any VM's configuration

    # Carry out

    async def begin(self) -> None:
        """Build everything; from now on `settle` does something."""
        self._begun = True
        try:
            await self.settle()
        except OpenxtError as error:
            log.error("the v4v firewall is not as it should be: %s", error)

    async def settle(self, newcomer: Vm | None = None) -> None:
        """Make viptables what the running VMs' rules want now.  Twice is as good as once.

        `newcomer`: a VM that has got its domains just now.
        """
        if newcomer is not None:
            self._forget(newcomer)
        if not self._begun:
            return
        async with self._lock:
            if not await setting(self._world, SETTING):
                await self._leave()
            elif self._standing is None or self._program != programs.found(PROGRAM):
                await self._build(openings_of(await self._speakers()))
            else:
                await self._change(self._standing, openings_of(await self._speakers()))

    async def _leave(self) -> None:
        """It was switched off: without any rule all may speak."""
        if self._standing is not None:
            self._standing = None
            await self._run(words.FLUSH)

    async def _build(self, wanted: Openings) -> None:
        """Connections that stand are not cut: all is open until the rules are there, and no longer."""
        self._program = programs.found(PROGRAM)
        if self._program is None:
            log.warning(NOT_ENFORCED)
        self._standing = None  # if it fails half way, the next one begins again
        await self._run(words.FLUSH)
        standing: Openings = {}
        try:
            await self._run(words.ACCEPT_ALL)
            await self._change(standing, wanted)
        finally:
            for command in (words.ACCEPT_NO_MORE, words.DOM0_TO_ITSELF, words.REJECT_ALL):
                await self._run(command)
        self._standing = standing
        log.info("v4v firewall: %d openings", len(standing))

    async def _change(self, standing: Openings, wanted: Openings) -> None:
        """Close first; nothing is opened while something that must be closed is not."""
        closing, opening = words.difference(standing, wanted)
        for one in closing:
            await self._run(words.removing(one))
            del standing[one]
        for one in opening:
            standing[one] = wanted[one]  # first: one that failed may be there, and is taken away by the next
            await self._run(words.adding(one))

    async def _run(self, command: Sequence[str]) -> None:
        if self._program is not None:
            await programs.run(self._program, *command)

    # Find out

    async def _speakers(self) -> list[Speaker]:
        """Every VM with a domain."""
        running = [(vm, vm.domid) for vm in self._world.registry if vm.domid is not None]
        found = [await self._speaker(vm, domid) for vm, domid in running]
        return [one for one in found if one is not None]

    async def _speaker(self, vm: Vm, domid: Domid) -> Speaker | None:
        """None for a VM that was removed from the database while it ran: it may speak to nobody."""
        known, changes = self._known.get(vm.uuid), self._changes
        if vm.is_missing:
            return None
        if known is not None and known.domid == domid:
            return known
        try:
            config = await self._world.store.config(vm)
        except BadRequest:
            return None
        found = self._speaker_of(config, domid, await self._world.nodes.exported_stubdomid(vm.uuid))
        if changes == self._changes:  # else it may be outdated already
            self._known[vm.uuid] = found
        return found

    def _speaker_of(self, config: VmConfig, domid: int, stubdom: int | None) -> Speaker:
        rules = readable_rules(config)
        seamless = seamless_traffic(self._world.places, config)
        return Speaker(config.uuid, domid, config["type"], config.name, rules, stubdom, seamless)

    def noticed(self, vm: Vm, before: VmConfig | None, after: VmConfig) -> None:
        """The configuration of a VM was changed: while it runs, what that opens or closes is done."""
        self._forget(vm)
        if vm.domid is None or (before is not None and self._means_the_same(before, after)):
            return
        self._world.background.spawn("v4v firewall", self.settle())

    def _forget(self, vm: Vm) -> None:
        self._changes += 1
        self._known.pop(vm.uuid, None)

    def _means_the_same(self, before: VmConfig, after: VmConfig) -> bool:
        return self._speaker_of(before, 0, None) == self._speaker_of(after, 0, None)

    # Show

    async def status(self) -> dict[str, str]:
        """enabled, enforced, openings, detail: what is to be known about it."""
        enabled = bool(await setting(self._world, SETTING))
        missing = await self._missing() if enabled else "switched off: all domains may speak to each other"
        return {
            "enabled": _word(enabled),
            "enforced": _word(enabled and not missing),
            "openings": str(len(self._standing or {})),
            "detail": missing,
        }

    async def _missing(self) -> str:
        """Why it does not hold; empty when viptables itself says that all is there."""
        if self._standing is None:
            return "the rules could not be built: see the log"
        if self._program is None or programs.found(PROGRAM) is None:
            return NOT_ENFORCED
        listed = list(words.parse_listing(await programs.run(self._program, "-L")))
        if ("REJECT", Opening(None, None)) not in listed:
            return f"{self._program} has no rule that refuses: is the kernel's v4v module loaded?"
        absent = [one for one in self._standing if ("ACCEPT", one) not in listed]
        return f"{len(absent)} openings are not there" if absent else ""

    def effective(self) -> list[Line]:
        """What is open now, in the order in which it was opened."""
        return [_line(one, reason) for one, reason in (self._standing or {}).items()]

    async def dry_run(self, vm: Vm) -> list[Line]:
        """What is open because this VM runs, or would be if it were started now.

        At the end its rules that open nothing, and those that cannot be read, without a command.
        """
        others = [one for one in await self._speakers() if one.uuid != vm.uuid]
        config = await self._world.store.config(vm)
        me = await self._speaker(vm, vm.domid) if vm.domid is not None else None
        if me is None:
            stubdom = words.SELF_STUBDOM if config["stubdom"] and config.is_hvm else None
            me = self._speaker_of(config, words.SELF, stubdom)
        together, before = openings_of([*others, me]), openings_of(others)
        shown = [_line(one, reason) for one, reason in together.items() if one not in before]
        idle = [str(rule) for rule in words.idle_rules(me, [*others, me])]
        return shown + [Line(rule, vm.uuid) for rule in (*idle, *unreadable_rules(config))]


def _line(opening: Opening, reason: Reason) -> Line:
    return Line(str(reason.rule), reason.owner, (PROGRAM, *words.adding(opening)))


def _word(value: bool) -> str:
    return "true" if value else "false"


def readable_rules(config: VmConfig) -> tuple[Rule, ...]:
    return tuple(rule for rule in map(_read, items(config.tree, V4V_KEY)) if rule is not None)


def unreadable_rules(config: VmConfig) -> list[str]:
    return [text for text in items(config.tree, V4V_KEY) if _read(text) is None]


def _read(text: str) -> Rule | None:
    try:
        return parse_rule(text)
    except RuleParseError:
        return None
