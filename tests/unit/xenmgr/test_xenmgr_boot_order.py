# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VMs start when the host boots, and in which order."""

from typing import Any

import pytest

from openxt_core.ids import Uuid
from openxt_xenmgr.vm.boot_order import boot_order
from openxt_xenmgr.vm.model import VmConfig


def config(name: str, **leaves: Any) -> VmConfig:
    tree = {key.replace("_", "-") if key != "start_on_boot" else key: value for key, value in leaves.items()}
    priority = tree.pop("priority", "0")
    return VmConfig.of(Uuid(name), {"start_on_boot": "true", "start_on_boot_priority": priority, **tree})


def order(
    *configs: VmConfig, was_hibernated: bool = False, running: frozenset[Uuid] = frozenset()
) -> list[str]:
    return [str(uuid) for uuid in boot_order(configs, was_hibernated=was_hibernated, running=running)]


def test_high_priorities_go_first_then_service_vms_then_gpu_vms_then_slots() -> None:
    vms = (
        config("user-2", slot="2"),
        config("user-1", slot="1"),
        config("gpu", slot="3", gpu="hdx"),
        config("service", type="ndvm"),
        config("urgent", priority="10", slot="9"),
    )
    assert order(*vms) == ["urgent", "service", "gpu", "user-1", "user-2"]


@pytest.mark.parametrize("leaves", [{"start_on_boot": "false"}, {"ready": "false"}])
def test_a_vm_that_shall_not_or_cannot_is_left_out(leaves: dict[str, str]) -> None:
    assert order(config("vm", **leaves)) == []


def test_after_a_hibernation_come_service_vms_and_those_that_hibernated() -> None:
    vms = (
        config("service", type="uivm"),
        config("awake"),
        config("asleep", start_on_boot="false", hibernated="true"),
        config("back", hibernated="true"),
    )
    assert order(*vms, was_hibernated=True, running=frozenset({Uuid("back")})) == ["service", "asleep"]
