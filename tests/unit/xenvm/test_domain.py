# SPDX-License-Identifier: GPL-2.0-or-later
"""What Xen and XenStore are asked for, and why a config is refused."""

from dataclasses import replace

import pytest

from openxt_core.ids import Domid, Uuid
from openxt_xen.hypervisor import HvmParam, Kind, PhysInfo, Rings
from openxt_xenvm.config.parse import parse_config
from openxt_xenvm.devices.argo import V4v
from openxt_xenvm.devices.base import Device, Guest, nodes
from openxt_xenvm.devices.console import Console
from openxt_xenvm.devices.vfb import Vfb
from openxt_xenvm.devices.vkbd import Vkbd
from openxt_xenvm.devices.vsnd import Vsnd
from openxt_xenvm.domain import build, cpuid
from openxt_xenvm.domain.nodes import after_build, skeleton, vcpus_online
from openxt_xenvm.plan.start import devices, plan_start
from openxt_xenvm.plan.steps import Announce, CreateDomain, PlugDevice
from openxt_xenvm.state import Event

UUID = Uuid("00000000-0000-0000-0000-000000000001")
DOMID = Domid(7)
GUEST = Guest(DOMID, UUID, console_port=2, rings=Rings(store=100, console=101))
HOST = PhysInfo(
    nr_cpus=1,
    total_kib=1,
    free_kib=1,
    scrub_kib=0,
    has_hvm=False,
    has_pv=True,
    has_directio=False,
    has_hap=False,
)
PV = parse_config("memory = 64\nkernel = /k\nname = n\nbios-string = a-b=c\nplatform = pae=maybe").config
PVH = replace(PV, virt_type=Kind.PVH)


def text_of(config_nodes: object) -> dict[str, str | None]:
    return {node.path: node.value for node in config_nodes}  # type: ignore[attr-defined]  # nodes of any source


def test_the_guest_owns_only_what_stock_xen_gives_it() -> None:
    owned = {node.path for node in skeleton(PV, UUID, DOMID) if node.access and node.access[0].domid == DOMID}
    home = "/local/domain/7/"
    assert f"{home}control/shutdown" in owned
    assert not owned & {"/local/domain/7", f"{home}control", f"{home}device", "/vm/" + UUID}
    assert all(path.startswith(home) for path in owned)


def test_the_skeleton_names_the_domain_and_its_machine() -> None:
    found = text_of(skeleton(PV, UUID, DOMID))
    assert found["/local/domain/7/name"] == found[f"/vm/{UUID}/name"] == "n"
    assert found["/local/domain/7/vm"] == f"/vm/{UUID}"
    assert found["/local/domain/7/platform/pae"] == "maybe"
    assert found["/local/domain/7/platform/nx"] == "false"
    assert found["/local/domain/7/bios-strings/a-b"] == "c"
    assert text_of(skeleton(replace(PV, name=None), UUID, DOMID))["/local/domain/7/name"] == "Domain-7"


def test_parents_come_before_their_children() -> None:
    seen: set[str] = set()
    for node in skeleton(PV, UUID, DOMID):
        seen.add(node.path)
        assert not any(other.startswith(f"{node.path}/") for other in seen)


def test_what_is_written_once_the_image_stands() -> None:
    found = text_of((*after_build(PV, DOMID, 5, 100), *vcpus_online(DOMID, 2)))
    assert found["/local/domain/7/memory/target"] == found["/local/domain/7/memory/static-max"] == "65536"
    assert found["/local/domain/7/store/port"] == "5"
    assert found["/local/domain/7/store/ring-ref"] == "100"
    assert found["/local/domain/7/cpu/1/availability"] == "online"


@pytest.mark.parametrize("device", [Vkbd(0), Vkbd(1), Vfb(), Vsnd(), V4v(), Console()])
def test_both_ends_of_a_device_point_at_each_other(device: Device) -> None:
    front, back = device.frontend_path(GUEST), device.backend_path(GUEST)
    found = text_of(nodes(device, GUEST))
    assert found[f"{front}/backend"] == back
    assert found[f"{back}/frontend"] == front
    assert found[f"{back}/frontend-id"] == "7"
    assert back == f"/local/domain/0/backend/{device.kind}/7/{device.devid}"


def test_the_guest_cannot_write_its_backend_nor_its_console() -> None:
    for device in (Vfb(), Console()):
        assert device.backend_access(GUEST)[0].domid == 0
    assert Console().frontend_access(GUEST)[0].domid == 0
    assert Vfb().frontend_access(GUEST)[0].domid == DOMID


def test_the_console_has_the_ring_of_the_builder() -> None:
    found = text_of(nodes(Console(), GUEST))
    assert found["/local/domain/7/console/ring-ref"] == "101"
    assert found["/local/domain/7/console/port"] == "2"


def test_pv_and_pvh_get_their_own_limits() -> None:
    pv, pvh = build.limits(PV), build.limits(PVH)
    assert pv == build.Limits(65536 + 1024, memory_map_limit_kib=65536)
    assert pvh.paging_pool_kib == 4 * (256 + 128)
    assert pvh.hvm_params == ((HvmParam.TIMER_MODE, 1), (HvmParam.ALTP2M, 0))


@pytest.mark.parametrize(
    ("lines", "param", "value"),
    [
        ("platform = timer-mode=2", HvmParam.TIMER_MODE, 2),
        ("platform = hpet=0\nhpet = 1", HvmParam.HPET_ENABLED, 0),
        ("platform = vpt-align=1", HvmParam.VPT_ALIGN, 1),
        ("platform = hpet=yes\nhpet = 1", HvmParam.HPET_ENABLED, 1),
        ("platform = timer-mode=9", HvmParam.TIMER_MODE, 1),
        ("platform = hpet=2", HvmParam.HPET_ENABLED, None),
        (f"platform = hpet={'9' * 5000}", HvmParam.HPET_ENABLED, None),
        ("", HvmParam.VPT_ALIGN, None),
    ],
)
def test_a_platform_line_sets_a_timer_if_it_makes_sense(
    lines: str, param: HvmParam, value: int | None
) -> None:
    config = parse_config(f"virt-type = hvm\nmemory = 64\n{lines}").config
    assert dict(build.limits(config).hvm_params).get(param) == value


@pytest.mark.parametrize(
    ("line", "warned"),
    [
        ("hpet=yes", ["platform=hpet=yes"]),
        ("timer-mode=9", ["platform=timer-mode=9"]),
        ("hpet=1", []),
        ("x=y", []),
    ],
)
def test_a_timer_line_that_makes_no_sense_is_warned_of(line: str, warned: list[str]) -> None:
    config = parse_config(f"virt-type = hvm\nmemory = 64\nplatform = {line}").config
    assert list(build.without_effect(config)) == warned


def test_a_platform_line_overrides_hap() -> None:
    assert build.domain_spec(PVH, UUID).hap
    config = parse_config("virt-type = pvh\nplatform = hap=false").config
    assert not build.domain_spec(config, UUID).hap


def test_cpuid_lines_of_one_leaf_are_merged() -> None:
    ones, zeros = "1" * 32, "0" * 32
    config = parse_config(f"cpuid=1:eax={ones}\ncpuid=1:ecx={zeros}\ncpuid=4+1:ebx={ones}").config
    assert cpuid.overrides(config) == {
        (1, None): (ones, None, zeros, None),
        (4, 1): (None, ones, None, None),
    }


PASSED = "pci = 0,bind,0000:00:10.0"
FULL = "memory = 64\nvirt-type = hvm\nqemu-dm-path = /q\ndisplay = none"


@pytest.mark.parametrize("lines", [FULL, "memory = 64\nkernel = /k\nvirt-type = pv"])
def test_a_domain_with_devices_of_the_machine_uses_the_iommu(lines: str) -> None:
    assert build.domain_spec(parse_config(f"{lines}\n{PASSED}").config, UUID).iommu
    assert not build.domain_spec(parse_config(lines).config, UUID).iommu


def test_memory_that_comes_later_does_not_go_with_devices_of_the_machine() -> None:
    later = parse_config(f"{FULL}\n{PASSED}\nmemory-max = 128").config
    assert any("memory-max is more than memory" in text for text in build.mistakes(later, build.Files()))
    assert list(build.mistakes(parse_config(f"{FULL}\n{PASSED}").config, build.Files())) == []


def test_all_mistakes_are_told_at_once() -> None:
    config = parse_config("vcpus = 200\nvirt-type = pvh\ninitrd = /nowhere").config
    found = list(build.mistakes(config, build.Files(is_readable=lambda path: False)))
    assert [text.split()[0].rstrip(":") for text in found] == ["memory", "vcpus=200", "kernel", "initrd"]


def test_a_good_config_has_no_mistakes() -> None:
    assert list(build.mistakes(PV, build.Files())) == []
    assert list(build.not_built_yet(PV)) == []


def test_missing_capabilities_are_named() -> None:
    assert build.missing_capabilities(PV, HOST) == ()
    assert build.missing_capabilities(PVH, HOST) == ("hvm",)


def test_a_plan_begins_with_a_domain_and_ends_before_it_runs() -> None:
    plan = plan_start(replace(PV, vkbd=True, v4v=True), UUID)
    assert isinstance(plan[0], CreateDomain)
    assert plan[-1] == Announce(Event.DEVICES_READY)
    plugged = [step.device for step in plan if isinstance(step, PlugDevice)]
    assert plugged == [Console(), Vkbd(0), Vkbd(1), V4v()]


def test_plans_of_equal_configs_are_equal() -> None:
    assert plan_start(PVH, UUID) == plan_start(replace(PVH), UUID)
    assert list(devices(PV)) == []
