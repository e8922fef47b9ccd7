# SPDX-License-Identifier: GPL-2.0-or-later
"""The settings of an appliance's guest: as text over the bus, as a CD at each start."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from xenmgr_house import Desk, desk

from openxt_api.xenmgr_vm import XENMGR_VM_PRODUCT
from openxt_core.ovf_environment import NAMESPACE

# What stands for apptool where that is not installed: the CD's content is what it was asked.
APPTOOL = """#!/bin/sh
[ -e {folder}/broken ] && {{ echo "no appliance" >&2; echo half > "$4"; exit 1; }}
echo "$@" > "$4"
"""


@pytest.fixture
async def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    program = tmp_path / "apptool"
    program.write_text(APPTOOL.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with desk() as opened:
        yield opened


def iso(it: Desk, path: str) -> Path:
    return it.places.at(f"/var/lib/ovf/{it.uuid(path)}-env.iso")


def config_of(it: Desk, path: str) -> list[str]:
    return it.places.xenvm_config(it.uuid(path)).read_text().splitlines()


async def test_the_environment_names_the_vm_and_those_beside_it(it: Desk) -> None:
    path, beside = await it.create(), await it.create()
    text = await it.fails(it.call(path, XENMGR_VM_PRODUCT.name, "get_ovf_env_xml"))
    assert "does not belong to any appliance" in text
    for vm, name in ((path, "web"), (beside, "db")):
        await it.db("write", f"/appliance/shop/vm/{it.uuid(vm)}/id", name)
    entry = f"/vm/{it.uuid(path)}/productproperty/port"
    await it.db("write", f"{entry}/key", "port")
    await it.db("write", f"{entry}/value", '80 <&"')
    found = ElementTree.fromstring(await it.call(path, XENMGR_VM_PRODUCT.name, "get_ovf_env_xml"))
    space = f"{{{NAMESPACE}}}"
    assert found.get(f"{space}id") == "web"
    (one,) = found.iter(f"{space}Property")
    assert (one.get(f"{space}key"), one.get(f"{space}value")) == ("port", '80 <&"')
    assert [other.get(f"{space}id") for other in found.iter(f"{space}Entity")] == ["db"]


async def test_a_cd_is_made_for_each_start_and_is_the_first_disk_while_the_vm_runs(it: Desk) -> None:
    path = await it.create()
    await it.db("write", f"/appliance/shop/vm/{it.uuid(path)}/id", "web")
    await it.set(path, "ovf-transport-iso", "b", True)
    await it.vm(path, "start")
    assert iso(it, path).stat().st_size
    disks = [line for line in config_of(it, path) if line.startswith("disk=")]
    assert disks[0] == f"disk={iso(it, path)}:file:hda:r:cdrom::"
    it.xen().reboot(await it.get(path, "domid"))
    await it.until(lambda: it.states_told(path).count("running") == 2)
    assert iso(it, path).exists()
    await it.vm(path, "destroy")
    await it.until_state(path, "stopped")
    assert not iso(it, path).exists()


async def test_a_cd_that_cannot_be_made_stops_the_start_and_none_is_left(it: Desk, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    path = await it.create()
    await it.set(path, "ovf-transport-iso", "b", True)
    assert "appliance" in await it.fails(it.vm(path, "start"))
    assert (await it.state(path), iso(it, path).exists()) == ("stopped", False)


async def test_a_start_that_fails_later_leaves_no_cd(it: Desk) -> None:
    path = await it.create()
    await it.db("write", f"/appliance/shop/vm/{it.uuid(path)}/id", "web")
    await it.set(path, "ovf-transport-iso", "b", True)
    await it.set(path, "run-pre-boot", "s", "/bin/false")
    await it.fails(it.vm(path, "start"))
    assert not iso(it, path).exists()
