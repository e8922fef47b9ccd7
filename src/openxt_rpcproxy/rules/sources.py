# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rules are in force for a domain: the file's, then its VM's own, then those added at run time.

Read when first needed; a file or a VM's rule that cannot be read means that nobody, or that VM, may say
nothing: an unreadable policy never allows.  A file is read again on SIGHUP, a malformed rule of a VM when
the VM's rules change; when the database does not answer it is asked again, later and later, and at once
when it comes back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from openxt_core.errors import BadRequest, OpenxtError
from openxt_core.ids import Uuid
from openxt_rpcproxy.epoch import Epoch
from openxt_rpcproxy.rules.decide import completed
from openxt_rpcproxy.rules.grammar import RuleError, parse_rule, parse_rules
from openxt_rpcproxy.rules.model import Direction, Rule, Verdict

log = logging.getLogger(__name__)

MAX_RUNTIME_RULES = 1000

RETRY_S, MAX_RETRY_S = 1.0, 30.0

ReadVmRules = Callable[[Uuid], Awaitable[list[str]]]

# What is in force when a policy cannot be read.
NOTHING = tuple(
    Rule(Verdict.DENY, direction, stubdom=stubdom, text="deny all", origin="unreadable rules")
    for direction in Direction
    for stubdom in (False, True)
)


def _call_later(delay_s: float, callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(delay_s, callback)


class RuleSources:
    def __init__(
        self,
        path: Path,
        read_vm_rules: ReadVmRules,
        later: Callable[[float, Callable[[], None]], None] = _call_later,
    ) -> None:
        self._path = path
        self._read_vm_rules = read_vm_rules
        self._file: tuple[Rule, ...] | None = None
        self._vms: dict[Uuid, tuple[Rule, ...]] = {}
        self._later = later
        self._failures: dict[Uuid, int] = {}  # how often in a row the database did not tell a VM's rules
        self._added: list[Rule] = []
        self.epoch = Epoch()

    async def rules_for(self, uuid: Uuid | None) -> tuple[Rule, ...]:
        """All rules for messages of that VM's domain, in order."""
        return completed((*self.file_rules(), *(await self._vm_rules(uuid) if uuid else ()), *self._added))

    def file_rules(self) -> tuple[Rule, ...]:
        if self._file is None:
            self._file = self._read_file()
        return self._file

    def _read_file(self) -> tuple[Rule, ...]:
        try:
            return parse_rules(self._path.read_text("utf-8"), str(self._path))
        except (OSError, UnicodeDecodeError, BadRequest) as error:
            log.error("rules cannot be read, nothing is allowed: %s", error)
            return NOTHING

    async def _vm_rules(self, uuid: Uuid) -> tuple[Rule, ...]:
        if uuid not in self._vms:
            epoch = self.epoch.number
            rules = await self._read_vm(uuid)
            if epoch != self.epoch.number:
                return rules  # forgotten while we read: read again next time
            self._vms[uuid] = rules
        return self._vms[uuid]

    async def _read_vm(self, uuid: Uuid) -> tuple[Rule, ...]:
        try:
            texts = await self._read_vm_rules(uuid)
            origin = f"/vm/{uuid}/rpc-firewall-rules"
            rules = [parse_rule(text, f"{origin}/{number}") for number, text in enumerate(texts)]
        except BadRequest as error:
            log.error("VM %s may say nothing until its rules are mended: %s", uuid, error)
            return NOTHING
        except OpenxtError as error:
            self._read_later(uuid, error)
            return NOTHING
        self._failures.pop(uuid, None)
        return tuple(replace(rule, dom_uuid=uuid) for rule in rules)

    def _read_later(self, uuid: Uuid, error: OpenxtError) -> None:
        count = self._failures[uuid] = self._failures.get(uuid, 0) + 1
        delay_s = min(RETRY_S * 2 ** min(count - 1, 10), MAX_RETRY_S)
        log.warning(
            "rules of VM %s: %s; until then it may say nothing, next try in %d s", uuid, error, delay_s
        )
        self._later(delay_s, lambda: self._try_again(uuid, count))

    def _try_again(self, uuid: Uuid, count: int) -> None:
        """Read them with the VM's next message, unless that was done since."""
        if self._failures.get(uuid) == count:
            self._forget(uuid)

    def database_is_back(self) -> None:
        """What could not be read can be read now."""
        for uuid in list(self._failures):
            self.forget_vm(uuid)

    def add(self, text: str) -> None:
        """Raises RuleError for an unreadable rule, and when there are too many."""
        if len(self._added) >= MAX_RUNTIME_RULES:
            raise RuleError(f"more than {MAX_RUNTIME_RULES} rules added at run time")
        self._added.append(parse_rule(text, "added at run time"))
        self.epoch.end()

    def delete(self, text: str) -> None:
        """Remove the rules added with exactly that text.  Raises BadRequest when there is none."""
        wanted = parse_rule(text, "to delete").text
        kept = [rule for rule in self._added if rule.text != wanted]
        if len(kept) == len(self._added):
            raise BadRequest(f"no rule added at run time reads {wanted!r:.200}")
        self._added = kept
        self.epoch.end()

    def known(self) -> tuple[Rule, ...]:
        """Every rule in force: those of VMs that do not talk are not known."""
        cached = (rule for rules in self._vms.values() for rule in rules)
        return (*self.file_rules(), *cached, *self._added)

    def reload(self) -> None:
        """Forget what was read; rules added at run time stay."""
        self._file = None
        self._vms.clear()
        self._failures.clear()
        self.epoch.end()

    def forget_vms(self) -> None:
        """The rules of any VM may have changed."""
        self._vms.clear()
        self._failures.clear()
        self.epoch.end()

    def forget_vm(self, uuid: Uuid) -> None:
        """Its rules may have changed."""
        self._failures.pop(uuid, None)
        self._forget(uuid)

    def _forget(self, uuid: Uuid) -> None:
        """Also while they are being read: what is read then is not kept."""
        self._vms.pop(uuid, None)
        self.epoch.end()

    def vms_with_added_rules(self) -> frozenset[Uuid]:
        """The VMs that rules added at run time are for."""
        return frozenset(rule.dom_uuid for rule in self._added if rule.dom_uuid is not None)

    def vm_stopped(self, uuid: Uuid) -> None:
        """Rules that were added for this VM alone end with it."""
        self._added = [rule for rule in self._added if rule.dom_uuid != uuid]
        self.forget_vm(uuid)
