# SPDX-License-Identifier: GPL-2.0-or-later
"""Each step of a start, and each hypercall, fails or is cancelled once: nothing is left of it."""

import asyncio
import errno
from dataclasses import dataclass
from pathlib import Path

import pytest
from xenvm_house import START, UUID, House, builds_held

from openxt_core.errors import RemoteError, Unavailable
from openxt_core.ids import Uuid
from openxt_xen.hypervisor import Kind
from openxt_xenvm import executor
from openxt_xenvm.config.model import Disk, DomainConfig, Nic
from openxt_xenvm.dom0 import processes
from openxt_xenvm.domain.hardware import Hardware
from openxt_xenvm.plan.start import plan_start
from openxt_xenvm.plan.steps import Step
from openxt_xenvm.site import Host, Site


@dataclass(frozen=True)
class Broken(Step):
    """Fails before it does anything, or after it has done everything."""

    step: Step
    does_first: bool
    by_cancelling: bool

    async def do(self, site: Site) -> None:
        if self.does_first:
            await self.step.do(site)
        if not self.by_cancelling:
            raise Unavailable("this step is broken")
        run = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not run and task.get_name() == "start":
                task.cancel()
        if not self.does_first:
            await self.step.do(site)

    async def undo(self, site: Site) -> None:
        await self.step.undo(site)


def plan(kind: Kind, uuid: Uuid, kernel: Path, hardware: Hardware) -> tuple[Step, ...]:
    config = DomainConfig(
        virt_type=kind,
        memory_kib=65536,
        kernel=str(kernel),
        disk=(Disk(str(kernel), "file", "xvda", True, False), Disk(str(kernel), "phy", "xvdb", False, True)),
        nic=(Nic(0, bridge="br0", mac="00:16:3e:00:00:01"),),
        vkbd=True,
        vfb=True,
        vsnd=True,
        v4v=True,
        qemu_dm_path="/any" if kind is Kind.HVM else "",
    )
    return plan_start(config, uuid, hardware if kind is Kind.HVM else None)


@pytest.mark.parametrize("by_cancelling", [False, True], ids=["failed", "cancelled"])
@pytest.mark.parametrize("kind", [Kind.PV, Kind.PVH, Kind.HVM])
async def test_whatever_step_breaks_nothing_is_left(
    house: House, monkeypatch: pytest.MonkeyPatch, kind: Kind, by_cancelling: bool
) -> None:
    kernel = house.root / "kernel"
    kernel.write_bytes(b"a kernel")
    monkeypatch.setenv("XENSTORED_PATH", house.environ["XENSTORED_PATH"])  # for the device model
    hardware = Hardware(house.keeper.firmware(), house.keeper.device_model("") if kind is Kind.HVM else ())
    steps = plan(kind, UUID, kernel, hardware)
    before, domains = await house.nodes(), house.xen.domains()
    house.bridge("br0")
    run, logs = house.root / "models", house.root / "logs"
    host = Host(house.xen, house.store, house.root / "lock", house.keeper, run=run, logs=logs)
    for at in range(len(steps)):
        for does_first in (False, True):
            broken = Broken(steps[at], does_first, by_cancelling)
            site = Site(host, UUID, lambda _: None, lambda _: None)
            start = asyncio.create_task(
                executor.run((*steps[:at], broken, *steps[at + 1 :]), site), name="start"
            )
            await asyncio.wait([start])
            assert start.cancelled() if by_cancelling else isinstance(start.exception(), Unavailable)
            assert house.xen.domains() == domains, broken
            assert await house.nodes() == before, broken
            assert house.loops() == {}, broken
            assert site.attached == set(), broken
            assert processes.find(str(run)) == [], broken
            assert not run.exists() or not list(run.iterdir()), broken


HVM = {Kind.PV: (), Kind.PVH: (), Kind.HVM: ("kernel =", "qemu-dm-path = /any")}

CALLS = [
    ("create_domain", Kind.PV),
    ("set_max_memory", Kind.PV),
    ("set_memory_map_limit", Kind.PV),
    ("set_tsc_default", Kind.PV),
    ("alloc_unbound_port", Kind.PV),
    ("apply_cpuid_policy", Kind.PV),
    ("build_pv", Kind.PV),
    ("set_hvm_param", Kind.PVH),
    ("set_paging_pool", Kind.PVH),
    ("build_pvh", Kind.PVH),
    ("build_hvm", Kind.HVM),
]


@pytest.mark.parametrize(("call", "kind"), CALLS)
async def test_a_failed_hypercall_is_told_and_undone(house: House, call: str, kind: Kind) -> None:
    before = await house.nodes()
    await house.monitor(house.config(f"virt-type = {kind}", "qemu-pv = false", *HVM[kind]))
    house.xen.fail_next(call, errno.EPERM)
    with pytest.raises(RemoteError, match=rf'exception: Xc\.Error\("{call}: EPERM'):
        await house.call("start")
    await house.hear("creating-domain", "shutdown")
    assert house.domids() == []
    assert await house.nodes() == before
    assert not house.record().exists()
    await house.call("start")
    await house.hear_states(*START)
    await house.call("destroy")


async def test_a_builder_without_memory_says_so_by_name(house: House) -> None:
    await house.monitor(house.config())
    house.xen.fail_next("build_pvh", errno.ENOMEM)
    with pytest.raises(RemoteError, match="exception: Not_enough_free_memory"):
        await house.call("start")


async def test_a_failed_unpause_leaves_the_domain_created(house: House) -> None:
    await house.monitor(house.config())
    house.xen.fail_next("unpause", errno.EPERM)
    await house.call("start")
    await house.hear("creating-domain", "creating-devices", "created")
    assert await house.call("get_status") == "created"


async def test_a_domain_that_cannot_be_destroyed_is_not_forgotten(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config())
    await house.call("start")
    (domid,) = house.domids()
    house.silence()
    house.xen.fail_next("destroy_domain", errno.EPERM)
    with pytest.raises(RemoteError, match=r"Xc\.Error"):
        await house.call("destroy")
    assert await house.call("get_domid") == str(domid)
    await house.call("destroy")
    await house.hear("shutdown")
    assert await house.nodes() == before


async def test_a_start_that_cannot_be_undone_is_cleaned_up_by_destroy(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config(), XENVM_GONE_S="0.2")
    house.xen.fail_next("build_pvh", errno.EINVAL)
    house.xen.fail_next("destroy_domain", errno.EPERM, 3)
    with pytest.raises(RemoteError, match="build_pvh"):
        await house.call("start")
    with pytest.raises(RemoteError, match="Vm_is_already_created"):
        await house.call("start")
    await house.call("destroy")
    assert house.domids() == []
    assert await house.nodes() == before


async def test_a_domain_that_dies_while_it_is_made_is_told_and_cleaned_up(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config())
    with builds_held(house):
        starting = asyncio.create_task(house.call("start"))
        await house.until(house.domids)
        house.xen.destroy_domain(house.domids()[0])
    # Xen says ESRCH; XenStore, where the nodes were not all written yet, ENOENT
    with pytest.raises(RemoteError, match=r"ESRCH|ENOENT"):
        await starting
    await house.hear("creating-domain", "shutdown")
    assert await house.nodes() == before


async def test_a_guest_that_crashes_at_once_is_cleaned_up(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config(cmdline="sim.boot=crash sim.boot_s=0"))
    await house.call("start")
    await house.hear(*START, "error:crashed", "shutdown")
    await house.until(lambda: not house.record().exists())
    assert await house.nodes() == before


async def test_a_terminated_monitor_undoes_the_start_that_is_under_way(house: House) -> None:
    before = await house.nodes()
    monitor = await house.monitor(house.config())
    with builds_held(house):
        starting = asyncio.create_task(house.call("start"))
        await house.until(house.domids)
        monitor.terminate()
    with pytest.raises((RemoteError, Unavailable)):
        await starting
    assert await house.gone(monitor) == 0
    await house.hear("creating-domain", "shutdown", "hup")
    assert house.domids() == []
    assert await house.nodes() == before
    assert not house.record().exists()


async def test_a_lost_xenstore_ends_the_monitor_and_not_the_domain(house: House) -> None:
    monitor = await house.monitor(house.config())
    await house.call("start")
    house.sim.terminate()
    assert await house.gone(monitor) == 2
    assert house.record().exists()


async def test_a_hundred_starts_and_stops_leave_the_monitor_as_it_was(house: House) -> None:
    before = await house.nodes()
    monitor = await house.monitor(house.config("v4v=true"))
    opened = []
    for _ in range(100):
        await house.call("start")
        await house.call("destroy")
        opened.append(len(list(Path(f"/proc/{monitor.pid}/fd").iterdir())))
    assert opened[-1] == opened[0]
    assert await house.nodes() == before
