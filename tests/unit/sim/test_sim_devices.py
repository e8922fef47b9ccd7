# SPDX-License-Identifier: GPL-2.0-or-later
"""The xenbus handshake of simulated frontends and backends."""

import pytest
from sim_bench import Bench

from openxt_core.ids import DOM0, Domid
from openxt_xen.xenstore import paths

KINDS = pytest.mark.parametrize("kind", ["vbd", "vif", "console", "v4v"])


def plug(bench: Bench, domid: Domid, kind: str, devid: int = 0) -> tuple[str, str]:
    """What a toolstack writes for a new device: frontend, backend."""
    front, back = paths.frontend(domid, kind, devid), paths.backend(DOM0, kind, domid, devid)
    for folder, owner, reader in ((front, domid, DOM0), (back, DOM0, domid)):
        bench.write(folder)
        bench.permit(folder, f"n{owner}", f"r{reader}")
    bench.write(f"{front}/backend", back)
    bench.write(f"{back}/frontend", front)
    bench.write(f"{back}/online", "1")
    bench.write(paths.state(back), "1")
    bench.write(paths.state(front), "1")
    return front, back


def states(bench: Bench, front: str, back: str) -> tuple[object, object]:
    return bench.read(paths.state(front)), bench.read(paths.state(back))


@KINDS
def test_a_device_of_a_booting_guest_gets_connected(bench: Bench, kind: str) -> None:
    domid, port = bench.build()
    front, back = plug(bench, domid, kind)
    assert states(bench, front, back) == (b"1", b"2")  # dom0 does not wait for the guest
    bench.introduce(domid, port)
    bench.host.unpause(domid)
    bench.clock.turn()
    assert states(bench, front, back) == (b"4", b"4")


@KINDS
def test_a_device_is_plugged_into_a_running_guest(bench: Bench, kind: str) -> None:
    domid = bench.start()
    front, back = plug(bench, domid, kind, 3)
    assert states(bench, front, back) == (b"4", b"4")


@KINDS
def test_a_device_that_is_to_go_closes_on_both_sides(bench: Bench, kind: str) -> None:
    domid = bench.start()
    front, back = plug(bench, domid, kind)
    bench.write(f"{back}/online", "0")
    bench.write(paths.state(back), "5")
    assert states(bench, front, back) == (b"6", b"6")


def test_a_hotplug_script_reports_in_both_places(bench: Bench) -> None:
    domid = bench.start()
    done = paths.hotplug_done(domid, "vif", 0)
    bench.write(paths.hotplug(domid, "vif", 0))
    _, back = plug(bench, domid, "vif")
    assert bench.read(f"{back}/hotplug-status") == b"connected"
    assert bench.read(done) == b"online"
    bench.write(paths.state(back), "5")
    assert bench.read(done) == "ENOENT"


def test_a_guest_that_does_not_boot_leaves_its_devices_waiting(bench: Bench) -> None:
    domid = bench.start(cmdline="sim.boot=hang")
    assert states(bench, *plug(bench, domid, "vbd")) == (b"1", b"2")


def test_a_backend_closes_when_its_frontend_is_gone(bench: Bench) -> None:
    domid = bench.start()
    _, back = plug(bench, domid, "vbd")
    bench.host.destroy_domain(domid)
    assert bench.read(paths.state(back)) == b"6"


def test_a_device_of_unknown_kind_is_left_alone(bench: Bench) -> None:
    domid = bench.start()
    assert states(bench, *plug(bench, domid, "vsnd")) == (b"1", b"1")


def test_a_group_of_pci_devices_takes_up_another_and_says_nothing_of_one_that_went(bench: Bench) -> None:
    domid = bench.start()
    front, back = plug(bench, domid, "pci")
    bench.write(f"{back}/dev-0", "0000:00:10.0@07")
    bench.write(f"{back}/state-0", "1")
    bench.write(f"{back}/num_devs", "1")
    bench.write(paths.state(back), "7")
    assert states(bench, front, back) == (b"4", b"4")
    assert bench.read(f"{back}/state-0") == b"3"
    assert bench.read(f"{back}/vdev-0") == b"0000:00:10.0"
    bench.write(f"{back}/state-0", "5")
    bench.write(paths.state(back), "7")
    assert states(bench, front, back) == (b"4", b"4")
    assert bench.read(f"{back}/state-0") == b"5"
