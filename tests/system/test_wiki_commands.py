# SPDX-License-Identifier: GPL-2.0-or-later
"""The command lines that OpenXT's documentation shows, typed as they stand there, on a whole host."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from xenmgr_house import Desk, desk

from openxt_core.ids import DOM0_UUID

SERVICE_VMS = ("0001", "0002")


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> AsyncIterator[Desk]:
    async with desk() as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def it(host: Desk) -> AsyncIterator[Desk]:
    """The host, without the VMs of an earlier test."""
    yield host
    for path in await host.root("list_vms"):
        if not path.endswith(SERVICE_VMS):
            await host.vm(path, "delete")


async def typed(it: Desk, line: str, *more: str) -> str:
    """What a command line prints, which must succeed."""
    process = await asyncio.create_subprocess_exec(
        *line.split(), *more, env=it.house.supervisor.environ, stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, ""), line
    return out.decode()


async def test_calls_on_xenmgr_and_its_host(it: Desk) -> None:
    path = (
        await typed(it, "xec create-vm-with-ui new-vm-pvh desktop", "for mail", "images/vms/x.png")
    ).strip()
    assert path in (await typed(it, "xec list-vms")).splitlines()
    assert await typed(it, f"xec -o {path} get description") == "for mail\n"
    assert int(await typed(it, "xec -o /host get total-mem")) > 0
    assert await typed(it, "xec -o /host list-isos") in ("\n", "")
    assert '"desktop"' in await typed(it, "xec -s com.citrix.xenclient.db dump /vm")


async def test_calls_on_a_vm_by_its_name(it: Desk) -> None:
    path = await it.create()
    assert " | guest " in await typed(it, "xec-vm")
    assert await typed(it, "xec-vm -n guest set start-on-boot true") == ""
    assert await typed(it, "xec-vm -n guest get start-on-boot") == "true\n"
    await typed(it, "xec-vm -n guest add-disk")
    await typed(it, "xec-vm -n guest add-nic")
    disks, nics = (
        await typed(it, "xec-vm -n guest --list-disks"),
        await typed(it, "xec-vm -n guest --list-nics"),
    )
    assert (disks.splitlines()[0], nics.splitlines()[0]) == (f"{path}/disk/0", f"{path}/nic/0")
    await typed(it, "xec-vm -n guest -k 0 set phys-path /disks/a.vhd")
    assert await typed(it, "xec-vm -n guest -k 0 get phys-path") == "/disks/a.vhd\n"
    assert await typed(it, "xec-vm -n guest -c 0 get network") == "/wired/0/bridged\n"


@pytest.mark.parametrize("program", ["xec", "xec-vm"])
async def test_pci_rules(it: Desk, program: str) -> None:
    await it.create()
    await typed(it, f"{program} -n guest add-pt-rule 0x680 any any")
    await typed(it, f"{program} -n guest add-pt-rule-bdf 0000:00:16.0")
    rules = await typed(it, f"{program} -n guest list-pt-rules")
    assert "match class=0x0680 vendor= device=" in rules
    assert "bdf=0000:00:16.0" in rules


async def test_dependencies(it: Desk) -> None:
    path = await it.create()
    other = await it.root("create_vm")
    await typed(it, f"xec -o {path} add-needed", it.uuid(other))
    assert await typed(it, "xec-vm -n guest list-dependencies") == f"{other}\n"
    assert await typed(it, "xec-vm -n guest set track-dependencies false") == ""


async def test_hooks(it: Desk) -> None:
    await it.create()
    call = f"rpc:vm={DOM0_UUID},destination=com.citrix.some.service,interface=com.citrix.i,member=m"
    for hook in ("/bin/customstart", call):
        await typed(it, "xec-vm -n guest set run-insteadof-start", hook)
        assert await typed(it, "xec-vm -n guest get run-insteadof-start") == f"{hook}\n"


async def test_switches_in_the_database(it: Desk) -> None:
    await typed(it, "db-write /overwrite-ndvm-settings false")
    assert await typed(it, "db-read /overwrite-ndvm-settings") == "false\n"
    await typed(it, "db-write /xenmgr/measure-fail-action sleep")
    assert await typed(it, "xec -i com.citrix.xenclient.xenmgr.config get measure-fail-action") == "sleep\n"
