# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks and network cards: their numbers, their nodes, and why they are refused."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from openxt_core.ids import DOM0_UUID, Domid, Uuid
from openxt_xen.hypervisor import Rings
from openxt_xenvm.config.model import Disk, DomainConfig, Nic
from openxt_xenvm.config.nics import on_bridges
from openxt_xenvm.config.parse import parse_config
from openxt_xenvm.devices import checks
from openxt_xenvm.devices.backing import Attachment, Layer
from openxt_xenvm.devices.base import Device, Guest, nodes
from openxt_xenvm.devices.checks import HostDevices
from openxt_xenvm.devices.inquiries import whole_name
from openxt_xenvm.devices.numbers import device_number
from openxt_xenvm.devices.vbd import attachments, vbd
from openxt_xenvm.devices.vif import vif
from openxt_xenvm.dom0.commands import CommandKeeper
from openxt_xenvm.dom0.keeper import open_keeper
from openxt_xenvm.dom0.simulated import SimulatedKeeper
from openxt_xenvm.errors import DeviceError
from openxt_xenvm.plan.plugging import Attach, PlugDisk, PlugNic
from openxt_xenvm.plan.start import plan_start

UUID = Uuid("00000000-0000-0000-0000-000000000001")
GUEST = Guest(Domid(7), UUID, console_port=2, rings=Rings(store=100, console=101))
DISK = Disk("/images/d", "file", "xvda", writable=True, is_cdrom=False)
NIC = Nic(0, bridge="br0", mac="00:16:3e:00:00:01")
HOST = HostDevices(bridges=("br0",))


@pytest.mark.parametrize("device", [vbd(DISK), vif(NIC), vif(replace(NIC, is_wireless=True))])
def test_the_frontend_of_a_disk_or_card_says_which_vm_serves_it(device: Device) -> None:
    key = f"{device.frontend_path(GUEST)}/backend-uuid"
    for served, uuid in ((device, DOM0_UUID), (replace(device, backend_uuid=UUID), UUID)):
        assert {node.path: node.value for node in nodes(served, GUEST)}[key] == uuid


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("hda", 768),
        ("hdb", 768 + 64),
        ("hdc", 5632),
        ("hdc2", 5634),
        ("hdt", 91 * 256 + 64),
        ("sda", 2048),
        ("sdp15", 2048 + 255),
        ("xvda", 51712),
        ("xvdb1", 51729),
        ("/dev/xvda", 51712),
        ("51728", 51728),
    ],
)
def test_a_disk_has_the_number_that_linux_gives_its_name(name: str, number: int) -> None:
    assert device_number(name) == number


@pytest.mark.parametrize(
    "name", ["", "xvdq", "sdq", "hdu", "xvda16", "hda64", "vda", "mapper/x", "-1", "xvda\n"]
)
def test_no_other_name_has_a_number(name: str) -> None:
    with pytest.raises(ValueError, match="virtual disk"):
        device_number(name)


def test_the_names_of_one_series_have_numbers_of_their_own() -> None:
    names = [f"{prefix}{letter}" for prefix in ("hd", "sd", "xvd") for letter in "abcdefghijklmnop"]
    assert len({device_number(name) for name in names}) == len(names)


def test_a_file_is_opened_by_way_of_its_loop_device() -> None:
    loop = Attachment(51712, 0, "loop", "/dev/loop10", "/images/d")
    found = {node.path: node.value for node in nodes(vbd(DISK, (7, 10), [loop]), GUEST)}
    back, front = "/local/domain/0/backend/vbd/7/51712", "/local/domain/7/device/vbd/51712"
    assert found[f"{back}/physical-device"] == "7:a"
    assert list(attachments(51712, found[f"{back}/attached"] or "")) == [loop]
    assert found[f"{back}/params"] == "/images/d"
    assert found[f"{back}/mode"] == "w"
    assert found[f"{front}/virtual-device"] == "51712"
    assert found[f"{front}/device-type"] == "disk"


def test_both_ends_of_a_card_know_its_address() -> None:
    found = {node.path: node.value for node in nodes(vif(NIC), GUEST)}
    assert (
        found["/local/domain/0/backend/vif/7/0/mac"] == found["/local/domain/7/device/vif/0/mac"] == NIC.mac
    )
    assert found["/local/domain/0/backend/vif/7/0/bridge"] == "br0"
    assert vif(NIC).interface(GUEST) == "vif7.0"


@pytest.mark.parametrize("device", [vbd(DISK, (7, 0)), vif(NIC)])
def test_the_guest_owns_its_end_and_reads_the_other(device: object) -> None:
    owners = {node.path: [perm.domid for perm in node.access] for node in nodes(device, GUEST) if node.access}  # type: ignore[arg-type]  # any of the two
    assert [owners[path] for path in sorted(owners)] == [[0, 7], [7, 0]]


def test_a_file_needs_a_loop_device_and_a_block_device_does_not() -> None:
    phy = replace(DISK, type="phy", virtpath="xvdb")
    plan = plan_start(DomainConfig(memory_kib=65536, disk=(DISK, phy), nic=(NIC,)), UUID)
    found = [step for step in plan if isinstance(step, Attach | PlugDisk | PlugNic)]
    assert found == [Attach(DISK, Layer.LOOP, 0), PlugDisk(DISK), PlugDisk(phy), PlugNic(NIC)]


def test_what_is_not_built_is_refused_by_name() -> None:
    config = parse_config("disk = /d:vdi:xvda:w:disk:", UUID).config
    assert list(checks.not_built_yet(config)) == ["disk xvda of type vdi (the storage daemon)"]


def test_what_is_built_is_not_refused() -> None:
    config = parse_config("disk = /d:phy:xvda:r:cdrom:none\ndisk = /f:file:sda:w:disk:\nvif = bridge=b", UUID)
    assert list(checks.not_built_yet(config.config)) == []


@pytest.mark.parametrize(
    ("mac", "problem"),
    [
        ("00:16:3E:00:00:01", ""),
        ("00:16:3e:00:00", "not a mac"),
        ("00-16-3e-00-00-01", "not a mac"),
        ("00:16:3e:00:00:01\n", "not a mac"),
        ("", "not a mac"),
        ("01:00:5e:00:00:01", "multicast"),
        ("ff:ff:ff:ff:ff:ff", "multicast"),
        ("00:00:00:00:00:00", "no address"),
    ],
)
def test_a_mac_is_the_address_of_one_card(mac: str, problem: str) -> None:
    found = checks.mac_problem(mac)
    assert problem in found
    assert bool(problem) is bool(found)


def test_a_disk_that_cannot_be_opened_is_a_mistake() -> None:
    host = HostDevices(lambda disk: f"cannot open {disk.path}")
    assert list(checks.mistakes(DomainConfig(disk=(DISK,)), host)) == ["disk xvda: cannot open /images/d"]
    assert list(checks.mistakes(DomainConfig(disk=(DISK,), nic=(NIC,)), HOST)) == []


def test_a_card_without_a_place_comes_on_the_first_bridge() -> None:
    homeless, placed = replace(NIC, bridge=""), replace(NIC, bridge="br1")
    assert [nic.bridge for nic in on_bridges((homeless, placed), ("a", "b"))] == ["a", "br1"]
    assert on_bridges((homeless,), ()) == (homeless,)


# The real dom0's side, as far as it needs no root


def test_the_keeper_is_that_of_the_hypervisor() -> None:
    simulated = {"OPENXT_HYPERVISOR": "simulated:/s", "OPENXT_ROOT": "/r"}
    assert open_keeper(simulated) == SimulatedKeeper(Path("/r/var/run/xenvm/dom0"))
    assert open_keeper({}) == CommandKeeper()


def test_the_simulated_keeper_reads_only_the_head_of_a_kernel(tmp_path: Path) -> None:
    keeper, script = SimulatedKeeper(tmp_path), tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    endless = tmp_path / "endless"
    with endless.open("wb") as file:
        file.truncate(1 << 42)  # more than any memory
    assert keeper.kernel_problem(str(endless)) == ""
    assert "not a kernel" in keeper.kernel_problem(str(script))
    assert "cannot read" in keeper.kernel_problem(str(tmp_path / "absent"))


def test_a_disk_is_what_its_type_says(tmp_path: Path) -> None:
    keeper, image = CommandKeeper(), tmp_path / "image"
    image.touch()
    good = replace(DISK, path=str(image))
    assert keeper.disk_problem(good) == ""
    assert "not a block device" in keeper.disk_problem(replace(good, type="phy"))
    assert "not a regular file" in keeper.disk_problem(replace(good, path=str(tmp_path)))
    assert "No such file" in keeper.disk_problem(replace(good, path="/no/such"))


def test_bridges_and_interfaces_are_those_of_the_kernel(tmp_path: Path) -> None:
    for folder in ("br1/bridge", "br0/bridge", "eth0"):
        (tmp_path / "class/net" / folder).mkdir(parents=True)
    keeper = CommandKeeper(tmp_path)
    assert keeper.bridges() == ["br0", "br1"]
    assert keeper.has_interface("eth0")
    assert not keeper.has_interface("vif7.0")


def test_a_scsi_disk_tells_who_it_is_unless_it_keeps_half_of_it_back(tmp_path: Path) -> None:
    keeper, sda = CommandKeeper(tmp_path), tmp_path / "dev/block/8:0/device"
    sda.mkdir(parents=True)
    (sda / "inquiry").write_bytes(b"\0\1")
    assert keeper.inquiries("/dev/sda", (8, 0)) == []
    (sda / "vpd_pg80").write_bytes(b"serial")
    assert keeper.inquiries("/dev/sda", (8, 0)) == [("default", b"\0\1"), ("0x80", b"serial")]
    (tmp_path / "block").mkdir()
    (tmp_path / "block/sda").symlink_to(sda.parent)
    (sda / "vpd_pg83").write_bytes(b"name")
    assert [page for page, _ in keeper.inquiries("/dev/mapper/censored", (253, 7))] == [
        "default",
        "0x80",
        "0x83",
    ]
    assert keeper.inquiries("/dev/vg/other", (253, 8)) == []


def designator(kind: int, data: bytes) -> bytes:
    return bytes([2, kind, 0, len(data)]) + data


def page_83(*found: bytes) -> bytes:
    data = b"".join(found)
    return b"\0\x83" + len(data).to_bytes(2, "big") + data


WWN = designator(0x03, bytes(8))
ATA_MODEL = designator(0x01, b"ATA     " + b"SAMSUNG SSD 870 EVO 1TB".ljust(40) + b"S5Y1".rjust(20))
STANDARD = bytes(8) + b"ATA     " + b"SAMSUNG SSD 870 " + b"1B6Q" + bytes(60)


def test_an_ata_disk_has_its_model_as_its_name(tmp_path: Path) -> None:
    keeper, sda = CommandKeeper(tmp_path), tmp_path / "dev/block/8:0/device"
    sda.mkdir(parents=True)
    for file, data in (("inquiry", STANDARD), ("vpd_pg80", b"s"), ("vpd_pg83", page_83(WWN, ATA_MODEL))):
        (sda / file).write_bytes(data)
    told = dict(keeper.inquiries("/dev/sda", (8, 0)))
    assert told["default"][8:32] == b"SAMSUNG SSD 870 EVO 1TB "
    assert told["default"][:8] + told["default"][32:] == STANDARD[:8] + STANDARD[32:]
    assert told["0x83"] == page_83(WWN, ATA_MODEL)


@pytest.mark.parametrize(
    "page",
    [
        *(b"", b"\0\x83", page_83(), page_83(WWN), page_83(ATA_MODEL)[:40], page_83(WWN)[:6]),
        page_83(designator(0x11, b"ATA     the port's")),
        page_83(designator(0x01, b"ATA     " + bytes(0).ljust(60))),
        page_83(designator(0x01, b"NVME    a model")),
    ],
)
def test_an_ata_disk_that_does_not_tell_its_model_keeps_its_name(page: bytes) -> None:
    assert whole_name(STANDARD, page) == STANDARD


def test_other_disks_keep_their_names() -> None:
    other = STANDARD.replace(b"ATA     ", b"SEAGATE ")
    assert whole_name(other, page_83(ATA_MODEL)) == other


def test_what_a_scsi_disk_says_stands_in_its_backend() -> None:
    device = vbd(DISK, (8, 0), inquiries=[("default", b"\0\1"), ("0x80", b"serial")])
    found = {node.path: node.value for node in nodes(device, GUEST)}
    back = "/local/domain/0/backend/vbd/7/51712/sm-data/scsi/0x12"
    assert (found[f"{back}/default"], found[f"{back}/0x80"]) == ("AAE=", "c2VyaWFs")
    assert f"{back}/0x83" not in found


def test_what_a_command_complains_about_is_the_error() -> None:
    with pytest.raises(DeviceError, match=re.escape("ip link set dev no-such master no-bridge")):
        CommandKeeper().join_bridge("no-such", "no-bridge")


def test_a_loop_device_of_another_file_is_left_alone(tmp_path: Path) -> None:
    backing = tmp_path / "block/loop9999/loop/backing_file"
    backing.parent.mkdir(parents=True)
    backing.write_text("/another/file (deleted)\n")
    keeper = CommandKeeper(tmp_path)
    keeper.detach(Attachment(1, 0, "loop", "/dev/loop9999", "/images/d"))
    keeper.detach(Attachment(1, 0, "loop", "/dev/loop9998", "/images/d"))
    with pytest.raises(DeviceError, match="losetup --detach /dev/loop9999"):
        keeper.detach(Attachment(1, 0, "loop", "/dev/loop9999", "/another/file"))
