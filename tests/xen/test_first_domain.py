# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole lives of single domains on real Xen, with nothing of ours but the hypervisor and XenStore clients.

The guests come with the bed: `tiny-pv` and `tiny-pvh`, which are up in milliseconds, and Debian's kernel
with a small initrd.  They say `GUEST READY` on the console when they live.
"""

import asyncio
import errno
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xen.hypervisor import DomainSpec, HvmParam, ImageSpec, Kind, Rings, ShutdownReason, XenError
from openxt_xen.libxc import LibXc
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore
from openxt_xen.xenstore.wire import Permission

pytestmark = [pytest.mark.xen, pytest.mark.timeout(300)]

GUESTS = Path(os.environ.get("OPENXT_GUESTS", "/guest"))
CONSOLE_LOGS = Path("/var/log/xen/console")
CONSOLE_PID = Path("/run/xen/xenconsoled.pid")

SLACK_KIB = 1024  # above the guest's memory: pages that the builder adds
READY_S = {False: 10.0, True: 60.0}  # tiny, Linux: without hardware virtualisation it takes its time

GUEST_NODES = ("control/shutdown", "control/feature-poweroff", "control/feature-suspend", "data", "error")

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Recipe:
    """What to boot, and with how much."""

    kind: Kind
    kernel: str
    ramdisk: str = ""
    cmdline: str = ""
    memory_kib: int = 8192
    vcpus: int = 1
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def name(self) -> str:
        return f"first-{self.kind}-{self.number}"

    @property
    def uuid(self) -> Uuid:
        return Uuid(f"f1257d03-0000-4000-8000-{self.number:012x}")


def tiny(kind: Kind, cmdline: str = "") -> Recipe:
    return Recipe(kind, str(GUESTS / f"tiny-{kind}"), cmdline=cmdline)


def linux(kind: Kind) -> Recipe:
    kernel, ramdisk = str(GUESTS / "vmlinux"), str(GUESTS / "initrd.gz")
    return Recipe(kind, kernel, ramdisk, "console=hvc0 quiet", memory_kib=128 * 1024, vcpus=2)


@pytest.fixture
async def store() -> AsyncIterator[XenStore]:
    client = await XenStore.connect()
    yield client
    client.close()


class StoppedEarly(Exception):
    """The guest shut down, or crashed, before it said what we waited for."""


@dataclass(frozen=True)
class Guest:
    domid: Domid
    recipe: Recipe
    hypervisor: LibXc
    store: XenStore

    async def says(self, text: str) -> None:
        """Wait until the console shows `text`.  xenconsoled's log can only be looked at again and again."""
        async with asyncio.timeout(READY_S[bool(self.recipe.ramdisk)]):
            while text not in self._console():
                if (reason := self._reason()) is not None and text not in self._console():
                    raise StoppedEarly(f"{reason!r} before {text!r}: {self._console()[-500:]}")
                await asyncio.sleep(0.02)

    def _console(self) -> str:
        log = CONSOLE_LOGS / f"guest-{self.recipe.name}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    async def ask(self, word: str) -> None:
        await self.store.write(paths.shutdown_request(self.domid), word)

    async def death(self) -> ShutdownReason:
        """Wait until Xen says why it stopped."""
        changed = asyncio.Event()
        watch = await self.store.watch(paths.RELEASE_DOMAIN, lambda _: changed.set())
        try:
            async with asyncio.timeout(20):
                while (reason := self._reason()) is None:
                    await changed.wait()
                    changed.clear()
        finally:
            await watch.close()
        return reason

    def _reason(self) -> ShutdownReason | None:
        info = self.hypervisor.info(self.domid)
        assert info is not None
        return info.shutdown


@asynccontextmanager
async def living(hypervisor: LibXc, store: XenStore, recipe: Recipe) -> AsyncIterator[Guest]:
    """A running guest, with its nodes; nothing of it is left in the end."""
    domid = hypervisor.create_domain(DomainSpec(recipe.uuid, recipe.kind, recipe.vcpus))
    try:
        await write_skeleton(store, domid, recipe)
        prepare(hypervisor, domid, recipe)
        await build(hypervisor, store, domid, recipe)
        hypervisor.unpause(domid)
        yield Guest(domid, recipe, hypervisor, store)
    finally:
        hypervisor.destroy_domain(domid)
        for path in (paths.domain(domid), paths.vm(recipe.uuid), console_backend(domid)):
            await store.rm(path)


def console_backend(domid: Domid) -> str:
    return paths.backend(DOM0, "console", domid, 0)


async def write_skeleton(store: XenStore, domid: Domid, recipe: Recipe) -> None:
    home = paths.domain(domid)
    await make(store, home, readable_by(domid))
    await make(store, paths.vm(recipe.uuid), readable_by(domid))
    for node in GUEST_NODES:
        await make(store, f"{home}/{node}", [Permission(domid, "n")])
    await store.write(paths.name(domid), recipe.name)  # before the console: xenconsoled names its log by it
    await store.write(paths.vm_link(domid), paths.vm(recipe.uuid))
    await store.write(f"{home}/domid", str(domid))  # a guest cannot know its number otherwise


def readable_by(domid: Domid) -> list[Permission]:
    return [Permission(DOM0, "n"), Permission(domid, "r")]


async def make(store: XenStore, path: str, permissions: list[Permission]) -> None:
    await store.mkdir(path)
    await store.set_permissions(path, permissions)


def prepare(hypervisor: LibXc, domid: Domid, recipe: Recipe) -> None:
    hypervisor.set_max_memory(domid, recipe.memory_kib + SLACK_KIB)
    if recipe.kind is Kind.PV:
        hypervisor.set_memory_map_limit(domid, recipe.memory_kib)
    else:
        hypervisor.set_hvm_param(domid, HvmParam.TIMER_MODE, 1)
        hypervisor.set_hvm_param(domid, HvmParam.ALTP2M, 0)
        hypervisor.set_paging_pool(domid, 4 * (256 * recipe.vcpus + 2 * recipe.memory_kib // 1024))
    hypervisor.set_tsc_default(domid)
    hypervisor.apply_cpuid_policy(domid, {})


async def build(hypervisor: LibXc, store: XenStore, domid: Domid, recipe: Recipe) -> None:
    store_port, console_port = (hypervisor.alloc_unbound_port(domid, DOM0) for _ in range(2))
    image = ImageSpec(
        kernel=recipe.kernel,
        ramdisk=recipe.ramdisk,
        cmdline=recipe.cmdline,
        memory_kib=recipe.memory_kib,
        max_vcpus=recipe.vcpus,
        store_port=store_port,
        console_port=console_port,
    )
    rings = builder(hypervisor, recipe.kind)(domid, image)
    for vcpu in range(recipe.vcpus):
        await store.write(paths.vcpu_availability(domid, vcpu), "online")
    await store.write(paths.store(domid, "port"), str(store_port))
    await store.write(paths.store(domid, "ring-ref"), str(rings.store))
    await store.introduce(domid, rings.store, store_port)
    await write_console(store, domid, rings, console_port)


def builder(hypervisor: LibXc, kind: Kind) -> Callable[[Domid, ImageSpec], Rings]:
    return hypervisor.build_pv if kind is Kind.PV else hypervisor.build_pvh


async def write_console(store: XenStore, domid: Domid, rings: Rings, port: int) -> None:
    """xenconsoled takes the console up as soon as type, ring-ref and port are there."""
    front, back = f"{paths.domain(domid)}/console", console_backend(domid)
    await make(store, back, readable_by(domid))
    await make(store, front, readable_by(domid))
    nodes = {
        back: {"frontend": front, "frontend-id": domid, "online": 1, "state": 1, "protocol": "vt100"},
        front: {
            "backend": back,
            "backend-id": DOM0,
            "limit": 1048576,
            "output": "pty",
            "tty": "",
            "type": "xenconsoled",
            "ring-ref": rings.console,
            "port": port,
        },
    }
    for folder, values in nodes.items():
        for key, value in values.items():
            await store.write(f"{folder}/{key}", str(value))


KINDS = pytest.mark.parametrize("kind", [Kind.PV, Kind.PVH])


@KINDS
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("poweroff", ShutdownReason.POWEROFF),
        ("reboot", ShutdownReason.REBOOT),
        ("suspend", ShutdownReason.SUSPEND),
    ],
)
async def test_a_tiny_guest_lives_and_stops_when_asked(
    libxc: LibXc, store: XenStore, kind: Kind, word: str, reason: ShutdownReason
) -> None:
    async with living(libxc, store, tiny(kind)) as guest:
        await guest.says(f"GUEST READY domid={guest.domid}")
        await guest.ask(word)
        assert await guest.death() is reason
        assert await store.read(paths.shutdown_request(guest.domid)) == ""


@KINDS
async def test_linux_reaches_its_init_and_powers_off_when_asked(
    libxc: LibXc, store: XenStore, kind: Kind
) -> None:
    try:
        assert await life_of_linux(libxc, store, kind) is ShutdownReason.POWEROFF
    except StoppedEarly:
        # QEMU's emulation of nested paging makes about one PVH boot in thirty triple-fault.
        assert await life_of_linux(libxc, store, kind) is ShutdownReason.POWEROFF


async def life_of_linux(libxc: LibXc, store: XenStore, kind: Kind) -> ShutdownReason:
    async with living(libxc, store, linux(kind)) as guest:
        await guest.says("GUEST READY")
        await guest.ask("poweroff")
        return await guest.death()


@KINDS
async def test_a_suspended_guest_goes_on_when_resumed(libxc: LibXc, store: XenStore, kind: Kind) -> None:
    async with living(libxc, store, tiny(kind)) as guest:
        await guest.says("GUEST READY")
        await guest.ask("suspend")
        assert await guest.death() is ShutdownReason.SUSPEND
        libxc.resume(guest.domid, fast=True)
        await store.resume(guest.domid)
        await guest.says("GUEST RESUMED")
        await guest.ask("poweroff")
        assert await guest.death() is ShutdownReason.POWEROFF


@KINDS
async def test_a_guest_that_does_not_listen_is_stopped_all_the_same(
    libxc: LibXc, store: XenStore, kind: Kind
) -> None:
    async with living(libxc, store, tiny(kind, "ignore")) as guest:
        await guest.says("GUEST READY")
        libxc.shutdown(guest.domid, ShutdownReason.CRASH)
        assert await guest.death() is ShutdownReason.CRASH


@KINDS
async def test_the_guest_sees_its_command_line_and_uuid_and_xen_names_its_kind(
    libxc: LibXc, store: XenStore, kind: Kind
) -> None:
    async with living(libxc, store, tiny(kind, "one two=3")) as guest:
        await guest.says(f"type={kind.upper()} cmdline=one two=3")
        info = libxc.info(guest.domid)
        assert info is not None
        assert info.uuid == guest.recipe.uuid
        assert info.kind is (Kind.PV if kind is Kind.PV else Kind.HVM)


@KINDS
async def test_a_destroyed_guest_gives_its_memory_back(libxc: LibXc, store: XenStore, kind: Kind) -> None:
    before = libxc.physinfo().free_kib
    async with living(libxc, store, tiny(kind)) as guest:
        await guest.says("GUEST READY")
        assert libxc.physinfo().free_kib <= before - guest.recipe.memory_kib
    assert libxc.info(guest.domid) is None
    # Xen keeps the domain's own structure until every cpu has passed by; that is not the guest's memory.
    assert libxc.physinfo().free_kib >= before - 256


@pytest.fixture
def stopped_console_daemon() -> Iterator[Callable[[], None]]:
    """xenconsoled stands still, with the pages that it maps, until the value is called."""
    pid = int(CONSOLE_PID.read_text())
    os.kill(pid, signal.SIGSTOP)
    yield lambda: os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGCONT)


@KINDS
async def test_a_domain_is_not_called_destroyed_while_somebody_maps_its_pages(
    libxc: LibXc, store: XenStore, kind: Kind, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("openxt_xen.libxc._DEATH_TIMEOUT_S", 0.2)
    async with living(libxc, store, tiny(kind)) as guest:
        await guest.says("GUEST READY")
        go_on = request.getfixturevalue("stopped_console_daemon")
        with pytest.raises(XenError, match="still maps") as caught:
            libxc.destroy_domain(guest.domid)
        info = libxc.info(guest.domid)
        monkeypatch.undo()
        go_on()
    assert caught.value.errno == errno.EBUSY
    assert info is not None
    assert info.dying


@KINDS
@pytest.mark.parametrize(
    ("kernel", "says"),
    [("/no/such/kernel", "/no/such/kernel"), ("/etc/passwd", "Invalid kernel")],
)
async def test_a_kernel_that_cannot_boot_is_an_error_in_the_builders_words(
    libxc: LibXc, store: XenStore, kind: Kind, kernel: str, says: str
) -> None:
    with pytest.raises(XenError, match=says):
        async with living(libxc, store, Recipe(kind, kernel)):
            pass


@KINDS
def test_a_guest_larger_than_the_host_is_refused_before_it_takes_any_memory(libxc: LibXc, kind: Kind) -> None:
    memory_kib = libxc.physinfo().total_kib // 1024 * 1024
    domid = libxc.create_domain(DomainSpec(Recipe(kind, "").uuid, kind, max_vcpus=1))
    try:
        libxc.set_max_memory(domid, memory_kib + SLACK_KIB)
        image = ImageSpec(tiny(kind).kernel, memory_kib, max_vcpus=1, store_port=1, console_port=2)
        with pytest.raises(XenError) as caught:
            builder(libxc, kind)(domid, image)
        info = libxc.info(domid)
    finally:
        libxc.destroy_domain(domid)
    assert caught.value.errno == errno.ENOMEM
    assert info is not None
    assert info.memory_kib == 0


def test_a_handle_serves_only_the_process_that_opened_it(libxc: LibXc) -> None:
    child = os.fork()
    if child == 0:
        os._exit(errno_of(libxc.domains))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == errno.EBADF
    assert errno_of(libxc.domains) == 0


def errno_of(call: Callable[[], object]) -> int:
    try:
        call()
    except XenError as error:
        return error.errno
    return 0
