# SPDX-License-Identifier: GPL-2.0-or-later
"""One monitor process from start to end: connect, serve, settle what is left, wait, leave the domain alone.

The service is up before anything is done to the domain, so that nobody misses what happens.
Exit status: 0 normal end, 1 another monitor owns the VM, 2 fatal error, 3 wrong options or config.
"""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable
from typing import Final

from openxt_bus.connection import Bus
from openxt_bus.daemon import Lifetime, set_up_logging
from openxt_core.errors import BadRequest, OpenxtError, Unavailable
from openxt_core.ids import Uuid, xenvm_name
from openxt_core.places import Places
from openxt_xen.open import open_hypervisor
from openxt_xen.xenstore.client import XenStore
from openxt_xenvm import notify
from openxt_xenvm.dom0.keeper import open_keeper
from openxt_xenvm.ending import Logs
from openxt_xenvm.errors import Overtaken
from openxt_xenvm.events import DomainWatch
from openxt_xenvm.hotplug import Hotplug
from openxt_xenvm.jobs import Job
from openxt_xenvm.json_rpc import JsonServer, socket_path
from openxt_xenvm.lifecycle import Lifecycle
from openxt_xenvm.locks import take_byte
from openxt_xenvm.monitor import Monitor
from openxt_xenvm.notifier import Notifier
from openxt_xenvm.notify import Notice
from openxt_xenvm.objects import TaskTree, send_job, send_notice
from openxt_xenvm.options import EXIT_USAGE, Options, Subject, read_subject
from openxt_xenvm.settings import Settings
from openxt_xenvm.site import Host
from openxt_xenvm.vm import Vm

log = logging.getLogger(__name__)

LOCK_WAIT_S: Final = 2.0

EXIT_TAKEN = 1
EXIT_FATAL = 2

Ready = Callable[[], None]
Failed = Callable[[str, int], None]


class NameTaken(Unavailable):
    """Another monitor has this VM."""


def run(options: Options, ready: Ready, failed: Failed) -> int:
    """The whole life.  `ready` is called once the service answers; `failed` instead when it never does."""
    set_up_logging("xenvm")
    gc.freeze()  # what is loaded by now stays: a collection, after each job, need not look at it
    try:
        subject = read_subject(options)
    except BadRequest as error:
        return _fail(failed, str(error), EXIT_USAGE)
    set_up_logging("xenvm", tag=f"{subject.uuid}|%(name)s")
    try:
        _log_as_configured(subject)
        asyncio.run(_live(options, subject, ready))
    except asyncio.CancelledError:
        failed("it was stopped before it served", 0)
    except NameTaken as error:
        return _fail(failed, str(error), EXIT_TAKEN)
    except (OpenxtError, OSError, ValueError) as error:
        return _fail(failed, str(error), EXIT_FATAL)
    except Exception as error:
        log.exception("internal error")
        return _fail(failed, f"internal error: {error!r}", EXIT_FATAL)
    return 0


def _fail(failed: Failed, text: str, status: int) -> int:
    log.error("%s", text)
    failed(text, status)
    return status


def _log_as_configured(subject: Subject) -> None:
    """`debug` writes every step to a file of its own."""
    if subject.config.debug:
        path = Places.of(os.environ).at(subject.config.output or f"/tmp/xenvm-debug-{subject.uuid}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        handler = logging.StreamHandler(os.fdopen(descriptor, "a"))
        handler.setFormatter(logging.Formatter(f"%(asctime)s {subject.uuid}|%(name)s %(message)s"))
        logging.getLogger().addHandler(handler)
        logging.getLogger("openxt_xenvm").setLevel(logging.DEBUG)
    for error in subject.ignored:
        log.warning("%s", error)


async def _live(options: Options, subject: Subject, ready: Ready) -> None:
    await _Process(options, subject, ready).live()


class _Process:
    """What lives as long as the event loop."""

    def __init__(self, options: Options, subject: Subject, ready: Ready) -> None:
        self.options = options
        self.subject = subject
        self.ready = ready
        self.places = Places.of(os.environ)
        self.settings = Settings.of(os.environ)
        self.lifetime = Lifetime()
        self.bus: Bus | None = None
        self.json: JsonServer | None = None
        self.store_lost = asyncio.Event()
        self.lock: int | None = None

    async def live(self) -> None:
        try:
            await self._live()
        finally:
            self.lifetime.close()

    async def _live(self) -> None:
        host = await self._open_host()
        vm = Vm(
            self.subject.uuid,
            self.places.xenvm_record(self.subject.uuid),
            lambda notice: notifier.tell(notice),
            self.subject.config,
            self.subject.config_path,
        )
        notifier = Notifier(vm.uuid, self._signal, lambda: vm.active.notify)
        watch = DomainWatch(
            host, vm.uuid, notifier.tell, lambda domid, fate: monitor.domain_ended(domid, fate)
        )
        life = Lifecycle(vm, host, watch)
        monitor = Monitor(vm, host, life, Hotplug(life), self._logs())
        monitor.jobs.changed = self._job_changed
        self.lifetime.on_hangup(lambda: read_again(monitor))
        try:
            await self._serve(monitor)
            await self._work(monitor, notifier)
        finally:
            await self._leave(monitor, notifier)
            host.close()

    async def _open_host(self) -> Host:
        hypervisor = open_hypervisor(os.environ)
        store = await XenStore.connect()
        store.closed = self.store_lost.set
        build_lock = self.places.at("/var/lock/xen-buildvm-lock")
        return Host(
            hypervisor,
            store,
            build_lock,
            open_keeper(os.environ),
            self.settings,
            run=self.places.run / "xenvm",
            logs=self.places.at("/var/log/xen"),
        )

    async def _serve(self, monitor: Monitor) -> None:
        """Answer before the name is there: nobody finds us silent."""
        uuid = monitor.vm.uuid
        if self.options.monitor_dbus:
            self.bus = await self._connect_bus()
            self.bus.serve(TaskTree(monitor))
            if not await self.bus.request_name(xenvm_name(uuid)):
                raise NameTaken(f"another xenvm monitors {uuid}")
        await self._take(uuid)
        if self.options.monitor_json:
            self.json = JsonServer(monitor, socket_path(self.places, os.environ, uuid))
            await self.json.open()

    async def _take(self, uuid: Uuid) -> None:
        """There is one monitor a VM, also where no bus says so.  One that just ended may not be gone yet."""
        try:
            self.lock = await take_byte(self.places.run / "xenvm.lock", uuid, LOCK_WAIT_S)
        except TimeoutError:
            raise NameTaken(f"another xenvm monitors {uuid}") from None

    async def _connect_bus(self) -> Bus:
        if not self.options.session_bus:
            return await self.lifetime.connect()
        address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
        if not address:
            raise Unavailable("DBUS_SESSION_BUS_ADDRESS is not set")
        return await Bus.connect(address)

    def _signal(self, notice: Notice) -> None:
        if self.bus is not None:
            send_notice(self.bus, self.subject.uuid, notice)

    def _logs(self) -> Logs:
        return Logs(self.places.at("/var/log/xen/console"), self.places.at("/var/log/xenvm"))

    def _job_changed(self, job: Job) -> None:
        if self.bus is not None:
            send_job(self.bus, self.subject.uuid, job)

    async def _work(self, monitor: Monitor, notifier: Notifier) -> None:
        notifier.tell(notify.PING)
        if self.bus is not None:
            notifier.tell(notify.SERVICE_UP)
        self.ready()
        await self._until_over(monitor, asyncio.create_task(self._begin(monitor, notifier)))

    async def _begin(self, monitor: Monitor, notifier: Notifier) -> None:
        """What is left of an earlier monitor, and the startup mode, unless a `destroy` comes in between."""
        try:
            await monitor.settle()
            await monitor.start_up(self.subject.config.startup)
        except Overtaken as error:
            log.info("%s", error)
        except OpenxtError as error:
            notifier.tell(notify.failed(str(error)))
            raise

    async def _until_over(self, monitor: Monitor, beginning: asyncio.Task[None]) -> None:
        """Until somebody ends us, in the midst of `beginning`, too.  Raises its failure, or Unavailable."""
        ends = [
            asyncio.ensure_future(self.lifetime.until_stopped()),
            asyncio.ensure_future(monitor.quitting.wait()),
            asyncio.ensure_future(self.store_lost.wait()),
        ]
        try:
            done, _ = await asyncio.wait([beginning, *ends], return_when=asyncio.FIRST_COMPLETED)
            if beginning in done:
                beginning.result()
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                end.result()
        finally:
            for end in (beginning, *ends):
                end.cancel()
        if self.store_lost.is_set():
            raise Unavailable("the connection to XenStore was lost")

    async def _leave(self, monitor: Monitor, notifier: Notifier) -> None:
        await monitor.close()
        notifier.tell(notify.HUP)
        await notifier.close()
        if self.json is not None:
            await self.json.close()
        if self.lock is not None:
            os.close(self.lock)
        if self.bus is not None:
            try:  # the reply also proves that everything sent before it has left
                await self.bus.release_name(xenvm_name(self.subject.uuid))
            except OpenxtError as error:
                log.debug("the name was not released: %s", error)


def read_again(monitor: Monitor) -> None:
    """The config file, at SIGHUP."""
    try:
        monitor.read_config()
    except OpenxtError as error:
        log.warning("the config stays as it is: %s", error)


def complain(text: str) -> None:
    print(f"xenvm: {text}" if not text.startswith("config error") else text, file=sys.stderr, flush=True)
