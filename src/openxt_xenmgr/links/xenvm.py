# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM's monitor xenvm, in our words.

A monitor that is not on the bus is an answer to most questions: no domain, ACPI state 5.  What it refuses is
told by the numbers that clients know.
"""

import re
from dataclasses import dataclass

from openxt_api.xenvm_task_list import XenvmTasksClient
from openxt_core import errors
from openxt_core.errors import NumberedError, OpenxtError, RemoteError, Unavailable
from openxt_core.ids import Domid, Uuid, xenvm_name, xenvm_path
from openxt_core.spec import Caller
from openxt_xenmgr.vm.states import ACPI_S5, State, parse_state
from openxt_xenmgr.vm.tree import parse_int

ASK_TIMEOUT_S = 15.0
# xenvm waits up to 64 s for memory to be scrubbed before it builds, and 20 minutes for a domain that is to
# serve devices and still boots.
START_TIMEOUT_S = 1500.0
DESTROY_TIMEOUT_S = 120.0
# A guest has 30 s to let a device go, and backends of dom0 as long to offer the next.  Another domain may
# have to boot first: xenvm goes on then, and who asked need not wait.
DEVICE_TIMEOUT_S = 90.0
# xenvm itself gives a guest 30 s to acknowledge and 30 minutes to end.
HALT_TIMEOUT_S = 1900.0

# First match wins.  Source: OpenXT xenmgr, 2015.
_NUMBERED: tuple[tuple[re.Pattern[str], type[NumberedError]], ...] = (
    (re.compile(r"Not_enough_free_memory"), errors.NotEnoughMemory),
    (re.compile(r"Could not allocate memory for HVM guest"), errors.NotEnoughMemory),
    (re.compile(r"Vm_bad_state"), errors.VmBadState),
    (re.compile(r"Vm_shutdown_wrong_reason"), errors.ShutdownWrongReason),
    (re.compile(r"Vm_didnt_shutdown"), errors.DidntShutdown),
    (re.compile(r"Vm_is_already_created"), errors.AlreadyCreated),
    (re.compile(r'RequiresMoreCapabilities\("(?P<text>.*)"\)'), errors.MoreCapabilities),
    (re.compile(r"Device\.Tap2\.Mount_failure"), errors.DiskMount),
    (re.compile(r"^\s*exception:\s*(?P<text>.*)", re.DOTALL), errors.XenvmOther),
)
_DETAIL = re.compile(r"exception:\s*[\w.]+\((?P<detail>.*)\)\s*\Z", re.DOTALL)


UNDER_WAY = frozenset({"waiting", "running"})  # tasks in these states


class MonitorGone(Unavailable):
    """The monitor is not on the bus, or left it before it answered."""


def translated(error: RemoteError) -> OpenxtError:
    """What a client shall hear instead of xenvm's own error; the same error if no pattern fits."""
    text = str(error)
    for pattern, numbered in _NUMBERED:
        found = pattern.search(text)
        if found:
            return numbered(_text(found, numbered, text))
    return error


def _text(found: "re.Match[str]", numbered: type[NumberedError], text: str) -> str:
    given = found.groupdict().get("text")
    if given:
        return given
    detail = _DETAIL.search(text)
    return f"{numbered.default}: {detail['detail']}" if detail and detail["detail"] else ""


@dataclass(frozen=True, slots=True)
class XenvmClient:
    """The monitor of one VM."""

    caller: Caller
    uuid: Uuid

    async def domid(self) -> Domid | None:
        """None without monitor or domain."""
        number = parse_int(await self._query("get_domid", "-1"))
        return Domid(number) if number is not None and number >= 0 else None

    async def status(self) -> State:
        """Raises MonitorGone: what it watched over may well be running."""
        return parse_state(await self.ask("get_status")) or State.SHUTDOWN

    async def acpi_state(self) -> int:
        number = parse_int(await self._query("get_acpi_state", str(ACPI_S5)))
        return ACPI_S5 if number is None else number

    async def required_to_boot_kib(self) -> int | None:
        """Host memory that a start needs; None when the monitor does not say."""
        return parse_int(await self.ask("get", field="required-to-boot-kib"))

    async def read_config(self) -> None:
        await self.ask("read_config")

    async def start_paused(self) -> None:
        """Build the domain; returns when it is built."""
        await self.ask("start", START_TIMEOUT_S, paused="true")

    async def restore_paused(self, file: str) -> None:
        await self.ask("restore", START_TIMEOUT_S, file=file, delete="false", paused="true")

    async def restore(self, file: str) -> None:
        await self.ask("restore", START_TIMEOUT_S, file=file, delete="false", paused="false")

    async def suspend(self, file: str) -> None:
        await self.ask("suspend", START_TIMEOUT_S, file=file)

    async def pause(self) -> None:
        await self.ask("pause")

    async def unpause(self) -> None:
        await self.ask("unpause")

    async def halt(self) -> None:
        """Ask the guest to shut down; returns when the domain is gone."""
        await self.ask("halt", HALT_TIMEOUT_S)

    async def reboot(self) -> None:
        await self.ask("reboot", HALT_TIMEOUT_S)

    async def destroy(self) -> None:
        await self.ask("destroy", DESTROY_TIMEOUT_S)

    async def sleep(self) -> None:
        await self.ask("s3suspend", 120.0, timeout="90")

    async def hibernate(self) -> None:
        await self.ask("s4suspend", 120.0, timeout="90")

    async def wake(self) -> None:
        await self.ask("trigger", params="s3resume")

    async def under_way(self) -> tuple[str, ...]:
        """Names of its tasks that are not over; none without a monitor."""
        path = xenvm_path(self.uuid)
        try:
            tasks = await XenvmTasksClient(self.caller, xenvm_name(self.uuid), path).list_tasks()
        except RemoteError as error:
            if error.is_absent:
                return ()
            raise
        return tuple(str(task["name"].value) for task in tasks if task["state"].value in UNDER_WAY)

    async def insert_disc(self, device: str, path: str) -> None:
        """Another disc in a drive of the running VM; without a path none."""
        await self.ask("cd_insert_file", DEVICE_TIMEOUT_S, virtpath=device, physpath=path)

    async def switch_network(self, nic: int, network: str) -> None:
        await self.ask("nic_network_switch", DEVICE_TIMEOUT_S, id=str(nic), network=network)

    async def move_nic(self, nic: int, backend: Domid) -> None:
        """Have another domain serve a card of the running VM."""
        await self.ask("set_nic_backend_dom", DEVICE_TIMEOUT_S, id=str(nic), domid=str(backend))

    async def quit(self) -> None:
        """End the monitor.  One that is not there, or ends before it answers, has ended."""
        await self._query("quit", "")

    async def ask(self, task: str, timeout_s: float = ASK_TIMEOUT_S, **params: str) -> str:
        """The text of a task's answer, empty for plain success.

        Raises MonitorGone when the monitor is not there, numbered errors for what it refuses.
        """
        try:
            return await self._call(task, timeout_s, params)
        except RemoteError as error:
            if error.is_absent:
                raise MonitorGone(f"the monitor of VM {self.uuid} does not answer: {error}") from error
            raise translated(error) from error

    async def _query(self, task: str, absent: str) -> str:
        """The answer, or `absent` when the monitor is not there."""
        try:
            return await self._call(task, ASK_TIMEOUT_S, {})
        except RemoteError as error:
            if error.is_absent:
                return absent
            raise translated(error) from error

    async def _call(self, task: str, timeout_s: float, params: dict[str, str]) -> str:
        name = xenvm_name(self.uuid)
        path = xenvm_path(self.uuid)
        reply = await self.caller.call(name, path, name, task, "a{ss}", (params,), timeout_s=timeout_s)
        return str(reply[0]) if reply else ""
