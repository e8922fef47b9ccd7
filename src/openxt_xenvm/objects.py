# SPDX-License-Identifier: GPL-2.0-or-later
"""The tasks on D-Bus: any object path, any interface, one argument `a{ss}`, the answer empty or a text.

Clients use different paths and interfaces, so neither is checked: what is served is the bus name.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from openxt_api.xenvm_task_list import XENVM_TASKS, XenvmTasks, XenvmTasksSignals
from openxt_bus import introspect
from openxt_bus.export import Answer, Face, ObjectTree, Request
from openxt_core.errors import InvalidArgs, NotSupported, OpenxtError, Refused, UnknownMethod
from openxt_core.ids import Uuid, xenvm_name, xenvm_path
from openxt_core.signature import Variant
from openxt_core.spec import Arg, Call, Emitter, Interface, Method, Signal, Value
from openxt_xenvm import tasks
from openxt_xenvm.errors import TaskRefused, on_the_wire
from openxt_xenvm.jobs import Job, Jobs
from openxt_xenvm.monitor import Monitor
from openxt_xenvm.notify import Notice

log = logging.getLogger(__name__)

NOTIFY = Interface(
    "xenvm.signal.notify",
    signals=(Signal("notify", (Arg("uuid", "s"), Arg("code", "i"), Arg("message", "s"))),),
)


class Failed(Refused):
    """Its text is the reply's text, as it is."""


class TaskTree(ObjectTree):
    """Answers instead of the usual tree, whose tables it never fills."""

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self._monitor = monitor
        self._jobs = ObjectTree()
        self._jobs.route(
            xenvm_path(monitor.vm.uuid), Face(XENVM_TASKS, lambda call: TaskList(call, monitor.jobs))
        )

    def handle(self, request: Request, body: Sequence[Value]) -> Answer | Awaitable[Answer]:
        """Raises what the caller shall be told."""
        if request.interface == XENVM_TASKS.name:
            return self._jobs.handle(request, body)
        if request.interface in _STANDARD:
            return _STANDARD[request.interface](self._monitor.vm.uuid, request.member)
        return self._perform(request.member, body)

    async def _perform(self, member: str, body: Sequence[Value]) -> Answer:
        name = member.replace("_", "-")
        tasks.find(name)
        try:
            text = await tasks.perform(self._monitor, name, _texts(body))
        except (InvalidArgs, Failed):
            raise
        except TaskRefused as error:
            raise Failed(str(error)) from error
        except NotSupported as error:
            raise NotSupported(on_the_wire(error)) from error
        except OpenxtError as error:
            raise Failed(on_the_wire(error)) from error
        return ("", ()) if text is None else ("s", (text,))


class TaskList(XenvmTasks):
    """com.citrix.xenclient.xenvm.tasks."""

    def __init__(self, call: Call, jobs: Jobs) -> None:
        super().__init__(call)
        self._jobs = jobs

    def list_tasks(self) -> list[dict[str, Variant]]:
        return [_told(job) for job in self._jobs]

    def get_task(self, id: int) -> dict[str, Variant]:
        return _told(self._jobs.find(id))

    def cancel_task(self, id: int) -> None:
        self._jobs.cancel(id)

    def set_deadline(self, id: int, seconds: int) -> None:
        self._jobs.set_deadline(id, seconds)


def _told(job: Job) -> dict[str, Variant]:
    return {
        "id": Variant("i", job.id),
        "name": Variant("s", job.name),
        "state": Variant("s", job.state),
        "progress": Variant("i", job.progress),
        "error": Variant("s", job.error),
        "deadline": Variant("i", job.seconds_left()),
    }


def send_job(emitter: Emitter, uuid: Uuid, job: Job) -> None:
    signals = XenvmTasksSignals(emitter, xenvm_path(uuid))
    signals.task_changed(job.id, job.name, job.state, job.progress, job.error)


def _texts(body: Sequence[Any]) -> Mapping[str, str]:
    """The dictionary of a call; a variant is unwrapped."""
    if len(body) != 1 or not isinstance(body[0], dict):
        raise InvalidArgs("expected the method followed by one dictionary of texts")
    found = {key: value.value if isinstance(value, Variant) else value for key, value in body[0].items()}
    if not all(isinstance(part, str) for item in found.items() for part in item):
        raise Failed("?")  # sic
    return found


def task_interface(uuid: Uuid) -> Interface:
    """As introspection tells it; what is answered does not depend on it."""
    params, result = (Arg("params", "a{ss}"),), (Arg("rval", "s"),)
    names = [task.name.replace("-", "_") for task in tasks.TASKS]
    return Interface(xenvm_name(uuid), tuple(Method(name, params, result) for name in names))


def _introspectable(uuid: Uuid, member: str) -> Answer:
    if member != "Introspect":
        raise UnknownMethod(member)
    specs = (introspect.INTROSPECTABLE, introspect.PEER, task_interface(uuid), NOTIFY, XENVM_TASKS)
    return "s", (introspect.document("".join(map(introspect.interface_xml, specs)), []),)


def _peer(_uuid: Uuid, member: str) -> Answer:
    if member != "Ping":
        raise UnknownMethod(member)
    return "", ()


def _no_properties(_uuid: Uuid, member: str) -> Answer:
    if member != "GetAll":
        raise UnknownMethod(member)
    return "a{sv}", ({},)


_STANDARD: dict[str, Callable[[Uuid, str], Answer]] = {
    introspect.INTROSPECTABLE.name: _introspectable,
    introspect.PEER.name: _peer,
    introspect.PROPERTIES.name: _no_properties,
}


def send_notice(emitter: Emitter, uuid: Uuid, notice: Notice) -> None:
    """The signal, from the VM's own path whatever path was called."""
    body = (uuid, int(notice.code), notice.message)
    emitter.emit(xenvm_path(uuid), NOTIFY.name, "notify", "sis", body)
