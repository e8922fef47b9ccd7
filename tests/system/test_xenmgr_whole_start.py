# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that a start can have, in the order in which it is seen: daemons, programs, nodes, files.

**Source:** OpenXT xenmgr, 2015: its start sequence at a glance.  Where ours differs docs/compat.md says so.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from peers import INPUT, NETWORK, SURFMAN, USB, peer
from start_recorder import SENTINEL, Recorder, in_order, recording, telling
from xenmgr_house import Desk, desk

from openxt_api.ctxusb_daemon import USBDAEMON
from openxt_api.input_daemon import INPUT as INPUT_FACE
from openxt_api.network import NETWORK_CONFIG
from openxt_api.network_daemon import NETWORKDAEMON
from openxt_api.surfman import SURFMAN as SURFMAN_FACE
from openxt_api.xenmgr_host import XENMGR_HOST
from openxt_core.ids import DOM0_UUID

WIRED, BRIDGE = "/wired/0/bridged", "brwired"
TEMPLATE_NDVM = "00000000-0000-0000-0000-000000000002"
DRIVE, DRIVE_NODE = "1:0:2:0", "1_0_2_0"
SCSI = """Attached devices:
Host: scsi1 Channel: 00 Id: 02 Lun: 00
  Vendor: HL-DT-ST Model: DVDRAM GT80N     Rev: LS00
  Type:   CD-ROM                           ANSI  SCSI revision: 05
"""


@pytest.fixture
async def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A host with all the programs and daemons of others that a start asks."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "hvm-info").write_text("#!/bin/sh\necho hvm_directio is enabled\n")
    (tmp_path / "hvm-info").chmod(0o755)
    async with desk() as opened, AsyncExitStack() as stack:
        opened.stand_ins = tmp_path
        bridge = opened.house.layout.root / "var/run/xenvm/dom0/bridges" / BRIDGE
        bridge.mkdir(parents=True)
        await opened.db("rm", f"/vm/{TEMPLATE_NDVM}/provides-default-network-backend")
        networks = {"/": (NETWORKDAEMON,), WIRED: (NETWORK_CONFIG,)}
        answers = {"is_initialized": True, "list": [{"object": WIRED}]}
        address = opened.house.layout.bus_address
        daemon = await stack.enter_async_context(peer(address, NETWORK, networks, **answers))
        daemon.values |= {"bridge": BRIDGE, "type": "wired"}
        for name, face in ((USB, USBDAEMON), (INPUT, INPUT_FACE)):
            await stack.enter_async_context(peer(address, name, {"/": (face,)}))
        mode = {"vgpu_mode": (2, "igfx", True, [])}
        await stack.enter_async_context(peer(address, SURFMAN, {"/": (SURFMAN_FACE,)}, **mode))
        for name in (NETWORK, USB, INPUT, SURFMAN):
            await opened.until_there(name)
        yield opened


async def told_of(it: Desk, path: str, **properties: str) -> None:
    """Hooks that tell the recorder, one rule of its own for v4v, and further properties."""
    for name in ("run-pre-boot", "run-on-state-change"):
        await it.set(path, name, "s", str(telling(it.stand_ins / name, name)))
    await it.db("inject", f"/vm/{it.uuid(path)}/v4v-firewall-rules", '{"0": "myself -> 0:5555"}')
    for name, value in properties.items():
        await it.db("write", f"/vm/{it.uuid(path)}/{name.replace('_', '-')}", value)


def with_viptables(it: Desk) -> None:
    telling(it.stand_ins / "viptables", "viptables")


async def with_drive(it: Desk, path: str) -> None:
    """A CD drive that belongs to the VM."""
    scsi = it.places.at("/proc/scsi/scsi")
    scsi.parent.mkdir(parents=True, exist_ok=True)
    scsi.write_text(SCSI)
    it.places.at(f"/sys/class/block/sr0/device/scsi_device/{DRIVE}").mkdir(parents=True)
    await it.call("/host", XENMGR_HOST.name, "assign_cd_device", "sbs", DRIVE, True, it.uuid(path))


async def give_drive(recorder: Recorder) -> None:
    """What the CD backend does when it is asked to."""
    xenstore = recorder.it.house.xenstore
    asked: asyncio.Queue[str] = asyncio.Queue()
    watch = await xenstore.watch("/local/domain", asked.put_nowait)
    while not (node := await asked.get()).endswith(f"{DRIVE_NODE}/req-assign"):
        pass
    await recorder.step("the drive is given")
    await xenstore.rm(node)
    await watch.close()


async def boot_to_the_end(recorder: Recorder) -> None:
    """What the guest does once it has booted: it says so, seen by who waits for it."""
    await recorder.it.until(lambda: "running" in recorder.it.states_told(recorder.vm)[-1:])
    await recorder.step("the guest has booted")
    domid = await recorder.it.get(recorder.vm, "domid")
    await recorder.it.house.xenstore.write(f"/local/domain/{domid}/{SENTINEL}", "1")


async def test_a_network_vm_with_everything_is_started_in_the_original_s_order(it: Desk) -> None:
    net = await it.create(cmdline="sim.serves=yes", nic={"0": {"id": "0", "network": WIRED}})
    for key, value in (("type", "ndvm"), ("name", "wires"), ("provides-network-backend", "true")):
        await it.db("write", f"/vm/{it.uuid(net)}/{key}", value)
    card = {"id": "0", "network": WIRED, "backend-uuid": it.uuid(net)}
    client = await it.create(nic={"0": card})
    await it.vm(client, "start")  # and the network VM, which it needs
    await it.vm(net, "destroy")
    await told_of(it, net, ovf_transport_iso="true", boot_sentinel=SENTINEL)
    await it.db("write", f"/appliance/shop/vm/{it.uuid(net)}/id", "web")
    await it.db("write", f"/vm/{it.uuid(net)}/config/nic/0/backend-uuid", DOM0_UUID)
    await with_drive(it, net)
    it.signals.clear()
    async with recording(it, net, {client: "client's"}) as recorder:
        with_viptables(it)
        async with asyncio.TaskGroup() as meanwhile:
            meanwhile.create_task(give_drive(recorder))
            meanwhile.create_task(boot_to_the_end(recorder))
            steps = await recorder.steps_of("start")
    domid = await it.get(net, "domid")
    rule = f"-I 1 --dom-in {domid} --dom-out 0 --port-out 5555 -j ACCEPT"
    in_order(
        steps,
        "call: start",
        "told: creating 5",
        "to networkdaemon: is_initialized",
        "to networkdaemon: list",
        f"to networkdaemon: {WIRED} bridge",
        "to xenvm: read_config",
        "to xenvm: get field required-to-boot-kib",
        f"run-pre-boot {it.uuid(net)}",
        "to xenvm: start paused true",
        "xenvm: vm:state:creating-domain",
        "xenvm: vm:state:creating-devices",
        f"viptables {rule}",
        "the drive is given",
        "to xenvm: unpause",
        "xenvm: vm:state:running",
        f"to networkdaemon: ndvm_status {it.uuid(net)} {domid} 1",
        "told: running 0",
        "the guest has booted",
        f"to client's xenvm: set_nic_backend_dom id 0 domid {domid}",
    )
    assert steps.index("xenvm: vm:state:created") < steps.index("the drive is given")
    built = {"config", "disc", "exported", "CD nodes", "backend-domid"}
    assert recorder.there[f"run-pre-boot {it.uuid(net)}"] == {"config", "disc"}
    assert recorder.there[f"viptables {rule}"] == built
    assert recorder.there["the drive is given"] == built | {"may speak", "sentinel"}
    assert f"to usbdaemon: new_vm {domid}" in steps
    assert f"run-on-state-change {it.uuid(net)} running" in recorder.there
    assert f"1.0.0.{domid}" in it.places.at("/etc/hosts").read_text()


FULL_MACHINE = {"virt-type": "hvm", "hvm": "true", "qemu-dm-path": "/any"}


async def test_a_stub_domain_is_there_before_its_rules_stand(it: Desk) -> None:
    kernel = it.places.storage / "stub-kernel"
    kernel.write_bytes(b"a kernel")
    extra = {"0": f"stubdom-kernel={kernel}", "1": "stubdom-initrd=", "2": "kernel="}
    path = await it.create(**FULL_MACHINE, **{"extra-xenvm": extra})
    await told_of(it, path, stubdom="true")
    async with recording(it, path) as recorder:
        with_viptables(it)
        steps = await recorder.steps_of("start")
    rule = f"-I 1 --dom-in {await it.get(path, 'domid')} --dom-out 0 --port-out 5555 -j ACCEPT"
    in_order(
        steps,
        "call: start",
        "told: creating 5",
        f"run-pre-boot {it.uuid(path)}",
        "to xenvm: start paused true",
        "xenvm: vm:state:creating-domain",
        "xenvm: vm:state:creating-devices",
        f"viptables {rule}",
        "xenvm: vm:state:created",
        "to xenvm: unpause",
        "told: running 0",
    )
    assert recorder.there[f"run-pre-boot {it.uuid(path)}"] == {"config"}
    assert recorder.there[f"viptables {rule}"] == {"config", "exported", "CD nodes", "stubdomid"}
    assert "may speak" in await recorder.look()


async def test_the_display_daemon_is_asked_before_a_machine_with_a_graphics_card_is_made(it: Desk) -> None:
    path = await it.create(**FULL_MACHINE, **{"extra-xenvm": {"0": "kernel="}})
    await told_of(it, path, gpu="hdx")
    async with recording(it, path) as recorder:
        steps = await recorder.steps_of("start")
    in_order(
        steps,
        "call: start",
        "told: creating 5",
        "to surfman: vgpu_mode",
        "to xenvm: get field required-to-boot-kib",
        f"run-pre-boot {it.uuid(path)}",
        "to xenvm: start paused true",
        "told: running 0",
    )


async def test_a_hook_that_stands_for_the_start_replaces_all_of_it(it: Desk) -> None:
    path = await it.create()
    await it.set(path, "run-insteadof-start", "s", str(telling(it.stand_ins / "instead", "instead")))
    async with recording(it, path) as recorder:
        steps = await recorder.steps_of("start")
    assert steps == ["call: start", f"instead {it.uuid(path)}"]
    assert recorder.there[f"instead {it.uuid(path)}"] == set()


async def test_what_a_vm_needs_runs_before_anything_of_its_own_is_made(it: Desk) -> None:
    needed, user = await it.create(), await it.create()
    await it.db("inject", f"/vm/{it.uuid(user)}/dependencies", json.dumps({"0": it.uuid(needed)}))
    async with recording(it, user, {needed: "needed"}) as recorder:
        steps = await recorder.steps_of("start")
    in_order(steps, "call: start", "needed told: running 0", "told: creating 5", "told: running 0")
