# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the methods by which a VM lives: started, stopped, put to sleep, saved."""

from member_givens import absent_device, on_vm, runs, with_addons, with_property
from member_methods import Deed, Stage, fault, faults, works
from member_start_faults import OF_THE_HOST, RIVALS

from openxt_api.vm_nic import VMNIC
from openxt_api.xenmgr_vm import XENMGR_VM

NDVM_UUID = "00000000-0000-0000-0000-000000000002"


@works(XENMGR_VM, "start", "start_internal")
async def _start(s: Stage) -> None:
    if s.method.name == "start_internal":  # it goes past the hook
        await s.it.set(s.vm, "run-insteadof-start", "s", "/bin/false")
    await s.call()
    assert await s.it.state(s.vm) == "running"
    assert s.it.domids(s.vm) == [await s.it.get(s.vm, "domid")]


@works(XENMGR_VM, "reboot")
async def _reboot(s: Stage) -> None:
    first = await s.start()
    await s.it.listens(s.vm)
    await s.call()
    await s.it.until(lambda: s.it.states_told(s.vm).count("running") == 2)
    assert s.it.domids(s.vm) != [first]


@works(XENMGR_VM, "shutdown", "destroy")
async def _end(s: Stage) -> None:
    await s.call()  # nothing happens without a monitor
    await s.start()
    await s.it.listens(s.vm)
    await s.call()
    assert (await s.it.state(s.vm), s.it.domids(s.vm)) == ("stopped", [])


@works(XENMGR_VM, "sleep", "resume")
async def _sleep(s: Stage) -> None:
    await with_addons(s)
    for member in ("sleep", "resume"):
        await on_vm(s, member)
    assert await s.it.state(s.vm) == "running"


@works(XENMGR_VM, "hibernate")
async def _hibernate(s: Stage) -> None:
    await s.call()  # nothing happens to one that does not run
    await with_addons(s)
    await s.call()
    assert (await s.it.state(s.vm), await s.it.get(s.vm, "acpi-state")) == ("stopped", 4)
    assert await s.it.db("read", f"/vm/{s.uuid}/hibernated") == "true"


@works(XENMGR_VM, "pause", "unpause")
async def _pause(s: Stage) -> None:
    await s.start()
    await on_vm(s, "pause")
    assert await s.it.state(s.vm) == "paused"
    await on_vm(s, "unpause")
    assert await s.it.state(s.vm) == "running"


@works(XENMGR_VM, "suspend_to_file", "resume_from_file")
async def _suspend(s: Stage) -> None:
    file = s.it.places.storage / "saved"
    await s.start()
    await s.it.listens(s.vm)
    await on_vm(s, "suspend_to_file", str(file))
    assert (s.it.domids(s.vm), file.exists()) == ([], True)
    await on_vm(s, "resume_from_file", str(file))
    assert await s.it.state(s.vm) == "running"


# Why it fails


def that(behaviour: str) -> Deed:
    """The VM runs, has PV drivers, and behaves like that when it is asked for something."""

    async def given(s: Stage) -> None:
        await s.it.set(s.vm, "cmd-line", "s", f"sim.shutdown={behaviour}")
        await with_addons(s)

    return given


async def no_kernel(s: Stage) -> None:
    await s.it.set(s.vm, "kernel", "s", "/nonesuch")


async def too_much_memory(s: Stage) -> None:
    await s.it.set(s.vm, "memory", "i", 1 << 20)


async def backend_down(s: Stage) -> None:
    nic = await on_vm(s, "add_nic")
    await s.it.set(nic, "backend-uuid", "s", NDVM_UUID, VMNIC.name)
    await s.it.set(s.vm, "track-dependencies", "b", False)


START_FAULTS = (
    *RIVALS,
    *OF_THE_HOST,
    fault("cannot be run", given=with_property("run-pre-boot", "/nonesuch")),
    fault("/bin/false", given=with_property("run-pre-boot", "/bin/false")),
    fault("/nonesuch", given=no_kernel),
    fault("101:", given=too_much_memory),
    fault("203:", given=absent_device),
    fault("232:", given=backend_down),
    fault("config/notify", given=with_property("notify", "")),
)

faults(
    XENMGR_VM,
    start=(*START_FAULTS, fault("/bin/false", given=with_property("run-insteadof-start", "/bin/false"))),
    start_internal=START_FAULTS,
    reboot=(fault("102:"), fault("103:", given=that("crash")), fault("104:", given=that("hang"))),
    shutdown=(
        fault("103:", given=that("crash")),
        fault("104:", given=that("hang")),
        fault("199:Vm_not_listening", given=that("ignore")),
    ),
    destroy=(),
    sleep=(fault("102:"), fault("213:", given=runs), fault("227:", given=that("ignore"))),
    hibernate=(fault("213:", given=runs), fault("228:", given=that("ignore"))),
    resume=(),
    pause=(fault("102:"),),
    unpause=(fault("102:"),),
    suspend_to_file=(
        fault("102:", "/storage/saved"),
        fault("not the path of a file", "saved", given=runs),
    ),
    resume_from_file=(
        fault("nonesuch", "/nonesuch"),
        fault("not the path of a file", "saved"),
        fault("102:", "/storage/saved", given=runs),
    ),
)
