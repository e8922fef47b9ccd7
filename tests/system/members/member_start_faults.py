# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the errors of a start that other VMs, the host or its daemons cause."""

import json

from member_machine import CARD, SECOND_GPU, put
from member_methods import Deed, Stage, fault
from peers import NETWORK, SURFMAN

from disk_images import ext4
from openxt_api.network_daemon import NETWORKDAEMON
from openxt_api.surfman import SURFMAN as SURFMAN_FACE
from openxt_api.xenmgr_vm import XENMGR_VM_PCI
from openxt_core.ids import DOM0_UUID
from openxt_xen.hypervisor import DomainSpec, Kind

DOM0 = "/var/run/xenvm/dom0"
DISK = {"type": "file", "mode": "r", "device": "xvda", "devtype": "disk"}


# Other VMs


def rival(key: str, value: str) -> Deed:
    """Another VM runs that has what this one wants."""

    async def given(s: Stage) -> None:
        await s.make_other()
        await s.it.vm(s.other, "start")
        for path in (s.other, s.vm):
            await s.set_keys(path, {key: value})

    return given


async def card_taken(s: Stage) -> None:
    await s.stand_in(SURFMAN, SURFMAN_FACE, vgpu_mode=(1, "igfx", True, ["0000:00:02.0"]))
    await rival("gpu", "hdx")(s)


async def device_taken(s: Stage) -> None:
    await s.make_other()
    await s.it.vm(s.other, "start")
    for path in (s.other, s.vm):
        await s.it.call(path, XENMGR_VM_PCI.name, "add_pt_rule_bdf", "s", CARD)


RIVALS = (
    fault("218:", given=card_taken),
    fault("219:", given=rival("amt-pt", "true")),
    fault("230:", given=device_taken, also=f'"{CARD}"'),
    fault("233:", given=rival("oem-acpi-features", "true")),
)


# The host


async def no_directed_io(s: Stage) -> None:
    await s.set_keys(s.vm, {"gpu": "hdx"})
    s.break_programs()


async def second_card(s: Stage) -> None:
    await s.it.set(s.vm, "gpu", "s", SECOND_GPU)


async def domain_there(s: Stage) -> None:
    """Somebody else has made a domain of the VM's uuid."""
    xen = s.it.xen()
    domid = xen.create_domain(DomainSpec(s.uuid, Kind.PVH, 1))

    async def end() -> None:
        xen.destroy_domain(domid)  # it is there still: no part of the start that failed
        xen.close()

    s.ends.append(end)


async def no_iommu(s: Stage) -> None:
    """A full machine with a device of the host, which has no IOMMU."""
    keys = {"virt-type": "hvm", "hvm": "true", "kernel": "", "qemu-dm-path": "/any"}
    await s.set_keys(s.vm, {f"config/{key}": value for key, value in keys.items()})
    for name, text in (("driver", "e1000"), ("resource", "0xfebc0000 0xfebdffff 0x40200"), ("irq", "11")):
        put(s.it, f"{DOM0}/pci/{CARD}/{name}", text)
    await s.it.call(s.vm, XENMGR_VM_PCI.name, "add_pt_rule_bdf", "s", CARD)


async def with_disk(s: Stage, path: str) -> None:
    disk = json.dumps({**DISK, "path": path})
    await s.it.db("inject", f"/vm/{s.uuid}/config/disk/0", disk)


async def unmountable(s: Stage) -> None:
    image = s.it.places.storage / "disks/unmountable.img"
    image.touch()
    await with_disk(s, str(image))
    refused = put(s.it, f"{DOM0}/refused", str(image))

    async def end() -> None:
        refused.unlink()

    s.ends.append(end)


async def no_image(s: Stage) -> None:
    await with_disk(s, "/nonesuch")


async def tampered(s: Stage) -> None:
    """Its disk is not what was measured; nothing follows from that but the error."""
    tree = s.it.stand_ins / "tree"
    tree.mkdir(exist_ok=True)
    await with_disk(s, str(ext4(s.it.places.storage / "disks/tampered.img", tree)))
    await s.set_keys(s.vm, {"measured": "true", "config/disk/0/sha256sum": "00" * 32})
    await s.it.db("write", "/xenmgr/measure-fail-action", "nothing")


async def network_daemon_not_ready(s: Stage) -> None:
    await s.stand_in(NETWORK, NETWORKDAEMON, is_initialized=False)
    nic = {"network": "/wired/0/bridged", "backend-uuid": DOM0_UUID}
    await s.it.db("inject", f"/vm/{s.uuid}/config/nic/0", json.dumps(nic))


OF_THE_HOST = (
    fault("105:", given=domain_there),
    fault("106:config requires directio", given=no_iommu),
    fault("107:", given=unmountable),
    fault("199:InvalidConfig", given=no_image),
    fault("211:", given=no_directed_io),
    fault("217:", given=tampered),
    fault("231:", given=second_card),
    fault("240:", given=network_daemon_not_ready),
)
