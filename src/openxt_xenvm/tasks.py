# SPDX-License-Identifier: GPL-2.0-or-later
"""The tasks of a monitor: name, parameters, what they do.  A table, read by every face of the monitor.

All values travel as text.  Source of names, parameters and texts: OpenXT xenvm, 2015.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from openxt_core.errors import UnknownMethod
from openxt_xen.hypervisor import Kind
from openxt_xenvm import device_tasks
from openxt_xenvm.config.parse import get_field, set_field
from openxt_xenvm.config.values import read_bool, read_int
from openxt_xenvm.domain import memory
from openxt_xenvm.errors import ArgumentNotFound, InvalidType, TaskRefused, UnknownField
from openxt_xenvm.monitor import Monitor
from openxt_xenvm.state import VmState
from openxt_xenvm.task import FORCED, Arguments, Param, Result, Task, optional

READERS: dict[str, Callable[[str], Any]] = {"s": str, "b": read_bool, "i": read_int}


def _reboot(monitor: Monitor, given: Arguments) -> Result:
    return monitor.reboot(forced=given["forced"], auto_start=given["auto-start"])


def _restart(monitor: Monitor, given: Arguments) -> Result:
    """The documentation's word for a reboot after which the VM runs, with or without a xenmgr."""
    return monitor.reboot(forced=given["forced"], auto_start=True)


def _suspend(monitor: Monitor, given: Arguments) -> Result:
    return monitor.suspend(given["file"], live=given["live"])


def _restore(monitor: Monitor, given: Arguments) -> Result:
    return monitor.restore(given["file"], paused=given["paused"], delete=given["delete"])


def _get(monitor: Monitor, given: Arguments) -> str:
    if given["field"] == "required-to-boot-kib":
        try:
            return str(memory.required_to_boot_kib(monitor.vm.next_config))
        except ValueError as error:
            raise TaskRefused(str(error)) from error
    try:
        return get_field(monitor.vm.next_config, given["field"])
    except KeyError:
        raise UnknownField(given["field"]) from None


def _set(monitor: Monitor, given: Arguments) -> None:
    name, text = given["field"], given["value"]
    try:
        monitor.vm.pending = set_field(monitor.vm.next_config, name, text)
    except KeyError:
        raise UnknownField(name) from None
    except ValueError as error:
        raise InvalidType(name, str(error)) from None


async def _stubdomid(monitor: Monitor, _: Arguments) -> str:
    return str(await monitor.stubdomid())


async def _vnc(monitor: Monitor, _: Arguments) -> str:
    return await monitor.vnc_port()


async def _acpi_state(monitor: Monitor, _: Arguments) -> str:
    return str(await monitor.acpi_state())


async def _trigger(monitor: Monitor, given: Arguments) -> None:
    """`s3resume` wakes a sleeping HVM guest."""
    vm = monitor.vm
    if given["params"] != "s3resume":
        raise TaskRefused(f"unknown trigger {given['params']!r}")
    if vm.domid is None or vm.state is not VmState.RUNNING or vm.active.kind is Kind.PV:
        raise TaskRefused("s3resume needs a running hvm domain")
    await monitor.sleeping.wake(vm.domid)


def _domid(monitor: Monitor, _: Arguments) -> str:
    return str(-1 if monitor.vm.domid is None else monitor.vm.domid)


PAUSED = optional("paused", "b", default=False)
FILE = Param("file")
TIMEOUT = optional("timeout", "i", default=30)  # s

TASKS = (
    Task("quit",           lambda m, _: m.quit()),
    Task("help",           lambda _, __: help_text()),
    Task("destroy",        lambda m, _: m.destroy()),
    Task("halt",           lambda m, given: m.halt(forced=given["forced"]), (FORCED,)),
    Task("reboot",         _reboot, (FORCED, optional("auto-start", "b", default=False))),
    Task("restart",        _restart, (FORCED,)),
    Task("start",          lambda m, given: m.start(paused=given["paused"]), (PAUSED,)),
    Task("pause",          lambda m, _: m.pause()),
    Task("unpause",        lambda m, _: m.unpause()),
    Task("suspend",        _suspend, (FILE, optional("live", "b", default=False))),
    Task("restore",        _restore, (FILE, PAUSED, optional("delete", "b", default=True))),
    Task("s3suspend",      lambda m, given: m.sleep(given["timeout"]), (TIMEOUT,)),
    Task("s4suspend",      lambda m, given: m.hibernate(given["timeout"]), (TIMEOUT,)),
    Task("checkpoint",     lambda m, given: m.checkpoint(given["file"]), (FILE,)),
    Task("get-domid",      _domid),
    Task("get-stubdomid",  _stubdomid),
    Task("get-status",     lambda m, _: str(m.vm.state)),
    Task("get-acpi-state", _acpi_state),
    Task("get-vnc",        _vnc),
    Task("trigger",        _trigger, (Param("params"),)),
    Task("get",            _get, (Param("field"),)),
    Task("set",            _set, (Param("field"), Param("value"))),
    Task("read-config",    lambda m, given: m.read_config(given["path"]), (optional("path", default=""),)),
    Task("set-mem-target", lambda m, given: m.set_memory_target(given["mb"]), (Param("mb", "i"),)),
    *device_tasks.TASKS,
)  # fmt: skip

ALIASES = {
    "shutdown": "halt",
    "status": "get-status",
    "domid": "get-domid",
    "stubdomid": "get-stubdomid",
    "vnc": "get-vnc",
}
"""Words of the documentation."""

BY_NAME = {task.name: task for task in TASKS}
AT_ANY_TIME = frozenset({"quit", "help"})
"""Tasks that do not wait until what an earlier monitor left is dealt with."""


def find(name: str) -> Task:
    """Raises UnknownMethod."""
    task = BY_NAME.get(ALIASES.get(name, name))
    if task is None:
        raise UnknownMethod(f"no rpc {name[:60]!r}")
    return task


def read_arguments(task: Task, given: Mapping[str, str]) -> Arguments:
    """Every parameter with its value.  Unknown ones are ignored.  ArgumentNotFound, InvalidType."""
    return {param.name: _read(param, given) for param in task.params}


def _read(param: Param, given: Mapping[str, str]) -> Any:
    text = given.get(param.name)
    if text is None:
        if param.required:
            raise ArgumentNotFound(param.name)
        return param.default
    if "\0" in text:
        raise InvalidType(param.name, "holds a NUL character")
    try:
        return READERS[param.type](text)
    except ValueError as error:
        raise InvalidType(param.name, str(error)) from None


async def perform(monitor: Monitor, name: str, given: Mapping[str, str]) -> str | None:
    """Run a task: its text, or None for plain success.  Raises OpenxtError."""
    task = find(name)
    arguments = read_arguments(task, given)
    if task.name not in AT_ANY_TIME:
        await monitor.settled.wait()
    result = task.run(monitor, arguments)
    return await result if isinstance(result, Awaitable) else result


def help_text() -> str:
    return "\n".join(" ".join([task.name, *map(_help, task.params)]) for task in TASKS)


def _help(param: Param) -> str:
    text = f"{param.name}={ {'s': 'TEXT', 'b': 'true|false', 'i': 'NUMBER'}[param.type] }"
    return text if param.required else f"[{text}]"
