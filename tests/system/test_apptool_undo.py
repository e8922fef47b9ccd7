# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever fails while an appliance is imported or replaced, the host is as it was, or can be made so."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ovf_house import BIN, DISK, Failing, Shop, shop

from effort import effort
from openxt_core.errors import OpenxtError
from ovf_packages import Descriptor, Package, content_of, image, item, package, section

# Those that import twice need 9 s of a processor, in a hundred programs: shared by eight, more than 60 s.
pytestmark = pytest.mark.timeout(240)

DYING = (sys.executable, str(Path(__file__).with_name("dying_apptool.py")))
FIXED = "aaaaaaaa-0000-0000-0000-000000000001"
MACHINE = (
    f'<xci:VirtualMachine xci:ovfId="web" xci:uuid="{FIXED}"><xci:PropertyOverride>'
    '<xci:Property xci:name="description" xci:value="version {version}"/></xci:PropertyOverride>'
    '<xci:DBEntry xci:section="vm-domstore" xci:key="version" xci:value="{version}"/>'
    '<xci:DomStoreFile xci:fileRef="k"/></xci:VirtualMachine>'
    '<xci:Disk xci:ovfId="d"><xci:GenerateEncryptionKey/></xci:Disk>'
)
SHARED = (
    '<SharedDiskSection><Info/><Disk ovf:diskId="s" ovf:fileRef="f" ovf:capacity="2097152" ovf:format="vhd"/>'
    "</SharedDiskSection>"
)


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(tmp_path) as opened:
        yield opened


def appliance(folder: Path, version: int, fixed: bool = True) -> Package:
    """Of everything something: a shared disk, an own one with a key, a disc, a file, rules, a fixed uuid."""
    machine = MACHINE.replace(f' xci:uuid="{FIXED}"', "" if not fixed else f' xci:uuid="{FIXED}"')
    descriptor = Descriptor(
        files='<File ovf:id="f" ovf:href="s.vhd"/><File ovf:id="i" ovf:href="t.iso"/>'
        '<File ovf:id="k" ovf:href="k"/>',
        disks='<Disk ovf:diskId="d" ovf:capacity="1048576" ovf:format="vhd"/>',
        envelope=SHARED,
        items=Descriptor().items
        + item(5, 10, "Connection=VM_Network")
        + item(7, 17, "HostResource=ovf:/disk/s")
        + item(8, 17, "HostResource=ovf:/disk/d")
        + item(9, 15, "HostResource=ovf:/file/i"),
        system='<ProductSection><Info/><Property ovf:key="a" ovf:value="b"/></ProductSection>',
        xci=section(machine.replace("{version}", str(version)), version=str(version)),
    )
    files = {
        "s.vhd": image(folder, "vpc", b"version %d" % version),
        "t.iso": b"disc %d" % version,
        "k": b"key",
    }
    return package(descriptor, files)


async def end(it: Shop, *words: str | Path, fatal: int) -> str:
    """What an import says that fails at this call; "" when it has no more calls."""
    session = it.session(*words, bus=lambda: Failing(it.desk.house.layout.bus_address, fatal))
    try:
        await asyncio.to_thread(session.output)
    except OpenxtError as error:
        return str(error)
    return ""


async def fail_at_each_call(it: Shop, *words: str | Path, step: int) -> int:
    """Have each `step`th call fail once: afterwards nothing has changed.  Gives how often it failed."""
    before = await it.state()
    fatal = count = 0
    while text := await end(it, *words, fatal=fatal):
        count += 1
        if "the test wants this to fail" not in text or "is installed, but" in text:
            break
        assert await it.state() == before, f"call {fatal}"
        fatal += step
    return count


@pytest.mark.proof
@pytest.mark.timeout(1200)
async def test_an_import_of_which_any_call_fails_leaves_nothing(it: Shop) -> None:
    path = appliance(it.folder, 1).ova(it.folder / "1.ova")
    assert await fail_at_each_call(it, "--import", path, step=effort(7, 1)) > 5
    assert await it.does("--list") == "shop\n"


@pytest.mark.proof
@pytest.mark.timeout(1200)
async def test_an_upgrade_of_which_any_call_fails_leaves_the_old_version(it: Shop) -> None:
    await it.does("--import", appliance(it.folder, 1).ova(it.folder / "1.ova"))
    path = appliance(it.folder, 2).ova(it.folder / "2.ova")
    assert await fail_at_each_call(it, "--import", path, "--upgrade", step=effort(9, 1)) > 5
    assert (await it.appliances())["shop"]["version"] == "2"
    await it.run("--cleanup")
    await holds(it, 2)


async def holds(it: Shop, version: int) -> None:
    """The appliance is that of this version in all its parts, and alone."""
    vms = await it.vms_of("shop")
    assert set(await it.appliances()) == {"shop"}
    (vm,) = vms.values()
    assert await it.desk.get(vm, "description") == f"version {version}"
    assert await it.desk.vm(vm, "get_domstore_key", "version") == str(version)
    shared, own, drive = [await it.desk.get(disk, "phys-path", DISK) for disk in await it.disks(vm)]
    assert content_of(shared).startswith(b"version %d" % version)
    assert Path(drive).read_bytes() == b"disc %d" % version
    assert Path(own).exists()
    files = {path for path in it.files() if "apptool" not in path}
    keys = {path for path in files if path.endswith(".key")}
    others = {str(it.desk.places.at(f"/config/dom-store/{it.desk.uuid(vm)}/k"))}
    assert files == {shared, own, drive} | keys | others
    assert len(keys) == 1


@pytest.mark.parametrize("fixed", [True, False], ids=["same uuid", "new uuid"])
async def test_a_new_version_takes_the_place_of_the_old_one(it: Shop, fixed: bool) -> None:
    first, second = (appliance(it.folder, n, fixed).ova(it.folder / f"{n}.ova") for n in (1, 2))
    refusal = "Appliance 'shop' already exists with {} version. Please specify {} to override"
    await it.does("--import", first)
    await holds(it, 1)
    before = await it.state()
    assert await it.fails("--import", first) == refusal.format("same", "--reinstall")
    assert await it.fails("--import", second) == refusal.format("lower", "--upgrade")
    assert await it.state() == before
    await it.does("--import", second, "--upgrade")
    await holds(it, 2)
    assert await it.fails("--import", first) == refusal.format("higher", "--downgrade")
    await it.does("--import", first, "--downgrade")
    await it.does("--import", first, "--reinstall")
    await holds(it, 1)
    await it.does("--remove", "shop")
    assert {path for path in it.files() if "apptool" not in path} == set()


async def test_a_vm_of_somebody_else_with_that_uuid_is_not_touched(it: Shop) -> None:
    await it.desk.root("create_vm_with_template_and_uuid", "new-vm-empty", FIXED)
    before = await it.state()
    text = await it.fails("--import", appliance(it.folder, 1).ova(it.folder / "1.ova"))
    assert text == f"VM {FIXED} (web) exists already"
    assert await it.state() == before


async def test_a_running_appliance_is_not_replaced(it: Shop) -> None:
    made = package(Descriptor(xci=section("", version="1")))
    await it.does("--import", made.ova(it.folder / "a.ova"))
    vm = await it.vm_of("shop")
    document = {
        "hvm": "false",
        "virt-type": "pvh",
        "qemu-dm-path": "",
        "kernel": str(it.desk.places.storage / "k"),
    }
    Path(document["kernel"]).write_bytes(b"a kernel")
    for name, value in document.items():
        await it.desk.db("write", f"/vm/{it.desk.uuid(vm)}/config/{name}", value)
    await it.desk.vm(vm, "start")
    before = await it.state()
    assert "is not stopped" in await it.fails("--import", it.folder / "a.ova", "--reinstall")
    assert await it.state() == before


async def kill_at_each_call(it: Shop, *words: str | Path, step: int) -> AsyncIterator[Any]:
    """Kill it before each `step`th call, and clean up."""
    number = 1
    while True:
        result = await it.run(number, *words, program=DYING)
        if result.status != -signal.SIGKILL:
            assert result.status == 0, result.err
            return
        await it.does("--cleanup")
        yield await it.state()
        number += step


@pytest.mark.proof
@pytest.mark.timeout(1200)
async def test_what_a_killed_import_left_is_cleaned_up(it: Shop) -> None:
    path = appliance(it.folder, 1).ova(it.folder / "1.ova")
    before = await it.state()
    async for state in kill_at_each_call(it, "--import", path, step=effort(17, 1)):
        if state != before:  # it was as good as done
            await holds(it, 1)
            await it.does("--remove", "shop")
    await it.does("--cleanup")
    await holds(it, 1)


@pytest.mark.proof
@pytest.mark.timeout(1200)
async def test_a_killed_upgrade_leaves_one_version_or_the_other(it: Shop) -> None:
    first, second = (appliance(it.folder, n).ova(it.folder / f"{n}.ova") for n in (1, 2))
    await it.does("--import", first)
    before = await it.state()
    async for state in kill_at_each_call(it, "--import", second, "--upgrade", step=effort(23, 1)):
        if state != before:  # as good as done
            await holds(it, 2)
            await it.does("--import", first, "--downgrade")
            before = await it.state()
    await holds(it, 2)


async def test_asked_to_end_it_takes_back_what_it_did(it: Shop) -> None:
    slow = it.folder / "qemu-img"
    slow.write_text(f"#!/bin/sh\necho started > {it.folder}/mark\nexec sleep 600\n")
    slow.chmod(0o755)
    path = appliance(it.folder, 1).ova(it.folder / "1.ova")
    it.more = {"PATH": f"{it.folder}:{os.environ['PATH']}"}
    before = await it.state()
    process = await asyncio.create_subprocess_exec(
        BIN / "apptool", "--import", path, env=it.environ, stderr=-1
    )
    await it.desk.until((it.folder / "mark").exists)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode().endswith("apptool: ended by SIGTERM\n")
    assert await it.state() == before


async def test_a_full_disk_is_told_and_leaves_nothing(it: Shop) -> None:
    broken = it.folder / "qemu-img"
    broken.write_text(
        "#!/bin/sh\necho 'qemu-img: error while writing: No space left on device' >&2\nexit 1\n"
    )
    broken.chmod(0o755)
    made = package(
        Descriptor(
            disks='<Disk ovf:diskId="d" ovf:capacity="1048576" ovf:format="vhd"/>',
            items=item(8, 17, "HostResource=ovf:/disk/d"),
        )
    )
    path = made.ova(it.folder / "2.ova")
    it.more = {"PATH": f"{it.folder}:{os.environ['PATH']}"}
    before = await it.state()
    assert "No space left on device" in await it.fails("--import", path)
    assert await it.state() == before


async def test_two_appliances_share_what_both_own(it: Shop) -> None:
    """The inventory alone says so: nothing that apptool does makes two owners of a file."""
    made = package(
        Descriptor(
            files='<File ovf:id="f" ovf:href="t.iso"/>', items=item(1, 15, "HostResource=ovf:/file/f")
        ),
        {"t.iso": b"a disc"},
    )
    await it.does("--import", made.ova(it.folder / "a.ova"), "--set-id", "one")
    disc = str(it.desk.places.at("/storage/isos/t.iso"))
    await it.desk.db("write", "/appliance/two/file/0", disc)
    await it.does("--remove", "one")
    assert Path(disc).exists()
    await it.does("--remove", "two")
    assert not Path(disc).exists()
