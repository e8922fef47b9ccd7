# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines that xenvm reads: compared with the original's, and its odd cases."""

import json
from pathlib import Path
from typing import Any

import pytest

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid
from openxt_xenmgr.vm.model import VmConfig, generated_mac
from openxt_xenmgr.vm.tree import merge
from openxt_xenmgr.vm.xenvm_config import LaunchFacts, Network, PciDevice, Vgpu, config_lines

ROOT = Path(__file__).parents[3]
NDVM = Uuid("00000000-0000-0000-0000-000000000002")
MASK = "x" * 31 + "0"
VM = Uuid("11111111-2222-3333-4444-555555555555")


def template(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((ROOT / "templates/default" / name).read_text())
    return tree


def golden(name: str) -> list[str]:
    return (ROOT / "tests/golden/xenvm-configs" / name).read_text().splitlines()


def facts(uuid: Uuid, **more: Any) -> LaunchFacts:
    return LaunchFacts(f"/tmp/kernel-{uuid}", version="5.0.0", cd_drives=("1:0:0:0",), **more)


def lines_of(tree: dict[str, Any], known: LaunchFacts | None = None) -> tuple[str, ...]:
    return config_lines(VmConfig.of(VM, tree), known or facts(VM))


def test_the_network_vm_matches_the_original() -> None:
    known = facts(NDVM, pci=(PciDevice("0000:00:19.0"),))
    assert list(config_lines(VmConfig.of(NDVM, template("service-ndvm")), known)) == golden("service-ndvm")


def test_a_user_vm_with_disk_and_nic_matches_the_original() -> None:
    added = {
        "config": {
            "disk": {"1": {"path": "/storage/disks/0a1b.vhd", "type": "vhd", "mode": "w", "device": "hda"}},
            "nic": {"0": {"id": "0", "network": "/wired/0/bridged"}},
        }
    }
    known = facts(
        VM,
        networks=(("/wired/0/bridged", Network("brbridged", "wired")),),
        backends=((0, 1),),
        stubdom_uuid="5f0e6f0a-8a62-4b0e-9d0e-2f1f5b7c9d11",
    )
    assert list(lines_of(merge(template("new-vm"), added), known)) == golden("new-vm")


@pytest.mark.parametrize(
    ("uuid", "nic", "mac"),
    [
        (NDVM, 0, "fe:e6:f3:ea:c3:ce"),
        (VM, 0, "a2:5c:2e:58:24:12"),
        (VM, 1, "be:c6:70:52:88:c1"),
    ],
)
def test_generated_macs_are_the_originals(uuid: Uuid, nic: int, mac: str) -> None:
    assert generated_mac(nic, uuid) == mac


def test_virt_type_comes_after_hvm_and_only_when_stored() -> None:
    lines = lines_of({"config": {"hvm": "false", "virt-type": "pvh", "notify": "dbus"}})
    at = lines.index("hvm=false")
    assert lines[at : at + 3] == ("hvm=false", "virt-type=pvh", "notify=dbus")
    assert not [line for line in lines_of({"config": {"hvm": "false"}}) if line.startswith("virt-type")]


def test_pvh_has_a_kernel_line_and_hvm_has_none() -> None:
    assert "kernel=/boot/k" in lines_of({"config": {"virt-type": "pvh", "kernel": "/boot/k"}})
    assert not [line for line in lines_of({"config": {"hvm": "true"}}) if line.startswith("kernel=")]


@pytest.mark.parametrize(
    ("tree", "expected", "unexpected"),
    [
        ({"policies": {"audio-access": "false"}, "config": {"sound": "ac97"}}, (), "sound=ac97"),
        ({"config": {"sound": "ac97"}}, ("sound=ac97",), "extra-hvm=disable-audio-rec="),
        ({"policies": {"cd-rec": "false"}}, ("extra-hvm=cdrom-pt-ro-exclusive=/dev/bsg/1:0:0:0",), ""),
        ({"usb-enabled": "false"}, ("usb=false",), ""),
        ({"config": {"display": "vnc:port=1"}}, ("extra-hvm=std-vga=",), "extra-hvm=surfman="),
        ({"config": {"vcpus": "3"}}, ("cores-per-socket=3", "vcpus=3"), ""),
        ({"config": {"vcpus": "4", "cores-per-socket": "2"}}, ("cores-per-socket=2",), ""),
        ({"config": {"extra-xenvm": {"0": "debug=true"}}}, ("debug=true",), ""),
        ({"config": {"hpet": "false", "nestedhvm": "true"}}, ("hpet=0", "nested=true"), "hpet=1"),
        ({"config": {"memory": "512", "memory-static-max": "1024"}}, ("memory=512", "memory-max=1024"), ""),
        ({"cpuid": f"1:eax={MASK}; ;2:ebx={MASK}"}, (f"cpuid=1:eax={MASK}", f"cpuid=2:ebx={MASK}"), ""),
        ({"cpuid": "1:eax=1"}, (), "cpuid=1:eax=1"),
        ({"time-offset": "3600"}, ("time-offset=3600",), ""),
        ({"name": "x"}, (), "name=x"),
    ],
)
def test_each_setting_gives_its_line(
    tree: dict[str, Any], expected: tuple[str, ...], unexpected: str
) -> None:
    lines = lines_of(tree)
    assert set(expected) <= set(lines)
    assert unexpected not in lines or not unexpected


def test_a_refused_cd_drive_leaves_no_line() -> None:
    lines = lines_of({"policies": {"cd-access": "false"}})
    assert "" not in lines
    assert not [line for line in lines if "cdrom" in line]


@pytest.mark.parametrize(
    ("vgpu", "expected"),
    [
        (None, ["gfx_passthru="]),
        (Vgpu(True), ["gfx_passthru=", "surfman="]),
        (Vgpu(False), ["vgpu", "std-vga=", "surfman="]),
    ],
)
def test_graphics_of_a_gpu_vm_follow_surfman(vgpu: Vgpu | None, expected: list[str]) -> None:
    lines = config_lines(VmConfig.of(VM, {"gpu": "hdx"}), LaunchFacts("/k", vgpu=vgpu))
    assert [line.removeprefix("extra-hvm=") for line in lines if line.startswith("extra-hvm")] == expected


def test_disabled_and_absent_disks_are_left_out_but_drives_stay_and_keys_go_with_vhds_only() -> None:
    disks = {
        "0": {"path": "/a.vhd", "type": "vhd", "device": "hda"},
        "1": {"path": "/b.vhd", "type": "vhd", "device": "hdb", "enable": "false"},
        "2": {"path": "/c.vhd", "type": "vhd", "device": "hdd"},
        "3": {"path": "/d.iso", "type": "file", "mode": "r", "device": "xvda", "devtype": "cdrom"},
        "4": {"path": "/e.iso", "type": "file", "mode": "r", "device": "hdc", "devtype": "cdrom"},
    }
    known = LaunchFacts("/k", key_dirs=("/keys", "/more"), absent_disks=frozenset({2, 4}))
    lines = config_lines(VmConfig.of(VM, {"config": {"disk": disks}}), known)
    assert [line for line in lines if line.startswith("disk=")] == [
        "disk=/a.vhd:vhd:hda:w:disk:::key-dir=/keys,/more",
        "disk=/d.iso:file:xvda:r:cdrom::",
        "disk=:file:hdc:r:cdrom::",
    ]


def test_policy_leaves_nics_out_by_the_type_of_their_network() -> None:
    nics = {"0": {"network": "/wired/0/bridged"}, "1": {"network": "/wifi/0/shared"}, "2": {"network": "/x"}}
    tree = {"policies": {"wireless-networking": "false"}, "config": {"nic": nics}}
    known = facts(VM, networks=(("/wifi/0/shared", Network("brwifi", "wifi")),))
    assert [line.split(",")[0] for line in lines_of(tree, known) if line.startswith("vif=")] == [
        "vif=id=0",
        "vif=id=2",
    ]
    wired_off = {"policies": {"wired-networking": "false"}, "config": {"nic": nics}}
    assert [line.split(",")[0] for line in lines_of(wired_off, known) if line.startswith("vif=")] == [
        "vif=id=1"
    ]


@pytest.mark.parametrize(
    "tree",
    [
        {"config": {"cmdline": "a\nkernel=/evil"}},
        {"config": {"disk": {"0": {"path": "/a:phy", "device": "hda"}}}},
        {"config": {"nic": {"0": {"network": "/n,backend-domid=7"}}}},
    ],
)
def test_a_value_cannot_smuggle_in_another_one(tree: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        lines_of(tree)
