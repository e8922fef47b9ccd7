# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dm-agent is told of a guest's drives."""

import pytest

from openxt_core.ids import Domid
from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import Disk, DomainConfig
from openxt_xenvm.dm.agent import Agent, Around, requests

DEVICES = ("xenmou", "xen_acpi_pm", "xen_pci_pt", "drive")
AGENT = Agent(Domid(0), None, {"qemu": frozenset(DEVICES)})
DISKS = (Disk("/a.vhd", "vhd", "hda", True, False), Disk("", "file", "hdc", False, True))


@pytest.mark.parametrize(("has_stubdom", "disk"), [(False, "/a.vhd"), (True, "/dev/xvda")])
def test_an_empty_drive_has_no_file_in_a_stub_domain_either(has_stubdom: bool, disk: str) -> None:
    config = DomainConfig(virt_type=Kind.HVM, disk=DISKS)
    (request,) = requests(config, [AGENT], Around(Domid(7), has_stubdom))
    files = [keys["file"] for _, entry in request.devices if "file" in (keys := dict(entry))]
    assert files == [disk, ""]
