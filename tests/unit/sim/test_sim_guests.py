# SPDX-License-Identifier: GPL-2.0-or-later
"""How simulated guests behave, with the clock turned by hand."""

import errno

import pytest
from sim_bench import MEMORY_KIB, UUID, Bench

from openxt_core.ids import Domid
from openxt_sim.guests import Behaviour, log_name
from openxt_xen.hypervisor import (
    POWER_BUTTON,
    DomainSpec,
    HvmImageSpec,
    HvmParam,
    ImageSpec,
    Kind,
    PowerButton,
    ShutdownReason,
    XenError,
)
from openxt_xen.xenstore import paths

LOG = "guest-test.log"


def request(bench: Bench, domid: Domid, word: str) -> None:
    bench.write(paths.shutdown_request(domid), word)


def reason(bench: Bench, domid: Domid) -> ShutdownReason | None:
    return bench.host.machine.domains[domid].shutdown


@pytest.mark.parametrize("kind", [Kind.PV, Kind.PVH])
def test_a_guest_says_that_it_is_up_and_ready(bench: Bench, kind: Kind) -> None:
    domid = bench.start(kind, 'quiet sim.ready="all is well"')
    assert bench.console[LOG].splitlines() == [
        f'GUEST UP {kind} cmdline=quiet sim.ready="all is well"',
        f"GUEST READY domid={domid}",
        "all is well",
    ]
    assert bench.read(paths.control(domid, "feature-poweroff")) == b"1"


def test_a_pvh_guest_announces_its_drivers(bench: Bench) -> None:
    domid = bench.start(Kind.PVH)
    assert bench.host.machine.get_hvm_param(domid, HvmParam.CALLBACK_IRQ) != 0


def test_a_guest_that_was_not_introduced_waits_for_it(bench: Bench) -> None:
    domid, port = bench.build()
    bench.host.unpause(domid)
    bench.clock.turn()
    assert bench.console == {}
    bench.introduce(domid, port)
    assert bench.console[LOG].endswith(f"GUEST READY domid={domid}\n")


def test_a_guest_without_a_name_has_no_log(bench: Bench) -> None:
    domid, port = bench.build()
    bench.ask(bench.dom0, 13, f"{paths.name(domid)}\0".encode())
    bench.introduce(domid, port)
    bench.host.unpause(domid)
    bench.clock.turn()
    assert bench.console == {}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("poweroff", ShutdownReason.POWEROFF),
        ("halt", ShutdownReason.POWEROFF),
        ("reboot", ShutdownReason.REBOOT),
        ("suspend", ShutdownReason.SUSPEND),
        ("crash", ShutdownReason.CRASH),
    ],
)
def test_a_guest_acknowledges_a_request_and_then_obeys(
    bench: Bench, word: str, expected: ShutdownReason
) -> None:
    domid = bench.start()
    request(bench, domid, word)
    assert bench.read(paths.shutdown_request(domid)) == b""
    assert reason(bench, domid) is None
    bench.clock.turn()
    assert reason(bench, domid) is expected


def test_an_unknown_request_is_not_answered(bench: Bench) -> None:
    domid = bench.start()
    request(bench, domid, "dance")
    bench.clock.turn()
    assert bench.read(paths.shutdown_request(domid)) == b"dance"
    assert reason(bench, domid) is None


@pytest.mark.parametrize(
    ("words", "answer", "end"),
    [
        ("sim.shutdown=ignore", b"poweroff", None),
        ("sim.shutdown=hang", b"", None),
        ("sim.shutdown=crash", b"", ShutdownReason.CRASH),
    ],
)
def test_a_guest_can_be_told_to_misbehave(
    bench: Bench, words: str, answer: bytes, end: ShutdownReason | None
) -> None:
    for domid in (bench.start(cmdline=words), bench.start()):
        bench.host.tell(domid, words)
        request(bench, domid, "poweroff")
        bench.clock.turn()
        assert bench.read(paths.shutdown_request(domid)) == answer
        assert reason(bench, domid) is end


@pytest.mark.parametrize(
    ("words", "button", "end"),
    [
        ("sim.button=obey", PowerButton(is_heard=True, is_pressed=False), ShutdownReason.POWEROFF),
        ("sim.button=hang", PowerButton(is_heard=True, is_pressed=False), None),
        ("sim.button=ignore", PowerButton(is_heard=True, is_pressed=True), None),
        ("sim.button=off", PowerButton(is_heard=False, is_pressed=True), None),
    ],
)
def test_a_full_machine_without_drivers_has_a_power_button(
    bench: Bench, words: str, button: PowerButton, end: ShutdownReason | None
) -> None:
    bench.files |= {"/hvmloader": b"a loader", "/bios": b"a BIOS"}
    domid = bench.host.create_domain(DomainSpec(UUID, Kind.HVM, 1))
    bench.host.machine.set_max_memory(domid, 2 * MEMORY_KIB)
    bench.host.build_hvm(domid, HvmImageSpec("/hvmloader", "/bios", MEMORY_KIB, MEMORY_KIB, 1, 1, 2))
    bench.host.tell(domid, f"sim.drivers=no {words}")
    bench.host.unpause(domid)
    bench.clock.turn()
    assert bench.host.machine.get_hvm_param(domid, HvmParam.CALLBACK_IRQ) == 0
    bench.host.send_trigger(domid, POWER_BUTTON, 0)
    assert bench.host.machine.power_button(domid) == button
    bench.clock.turn()
    assert reason(bench, domid) is end


@pytest.mark.parametrize(
    ("boot", "end"), [("crash", ShutdownReason.CRASH), ("reboot", ShutdownReason.REBOOT), ("hang", None)]
)
def test_a_guest_can_fail_to_boot(bench: Bench, boot: str, end: ShutdownReason | None) -> None:
    domid = bench.start(cmdline=f"sim.boot={boot}")
    assert reason(bench, domid) is end
    assert "READY" not in bench.console[LOG]


def test_the_times_are_configurable(bench: Bench) -> None:
    domid = bench.start(cmdline="sim.boot_s=30 sim.shutdown_s=60")
    assert "READY" not in bench.console[LOG]
    bench.clock.turn(29.5)
    assert "READY" in bench.console[LOG]
    request(bench, domid, "poweroff")
    bench.clock.turn(59)
    assert reason(bench, domid) is None
    bench.clock.turn(2)
    assert reason(bench, domid) is ShutdownReason.POWEROFF


def test_a_paused_guest_does_nothing_until_it_goes_on(bench: Bench) -> None:
    domid = bench.start()
    bench.host.pause(domid)
    request(bench, domid, "poweroff")
    bench.clock.turn(10)
    assert bench.read(paths.shutdown_request(domid)) == b"poweroff"
    bench.host.unpause(domid)
    bench.clock.turn()
    assert reason(bench, domid) is ShutdownReason.POWEROFF


def test_a_dead_guest_does_nothing_more(bench: Bench) -> None:
    domid = bench.start()
    request(bench, domid, "reboot")
    bench.host.shutdown(domid, ShutdownReason.POWEROFF)
    bench.clock.turn()
    assert reason(bench, domid) is ShutdownReason.POWEROFF
    bench.host.destroy_domain(domid)
    bench.clock.turn()


def test_a_suspended_guest_goes_on_after_a_resume(bench: Bench) -> None:
    domid = bench.start()
    request(bench, domid, "suspend")
    bench.clock.turn()
    bench.host.resume(domid, fast=True)
    request(bench, domid, "poweroff")
    bench.clock.turn()
    assert "GUEST RESUMED" in bench.console[LOG]
    assert reason(bench, domid) is ShutdownReason.POWEROFF


def test_a_reintroduced_guest_watches_again(bench: Bench) -> None:
    domid, port = bench.build()
    bench.introduce(domid, port)
    bench.host.unpause(domid)
    bench.clock.turn()
    bench.introduce(domid, port)
    request(bench, domid, "poweroff")
    bench.clock.turn()
    assert reason(bench, domid) is ShutdownReason.POWEROFF


def test_a_guest_follows_its_memory_target(bench: Bench) -> None:
    domid = bench.start()
    bench.write(paths.memory_target(domid), str(MEMORY_KIB // 2))
    assert bench.host.machine.domains[domid].memory_kib == MEMORY_KIB // 2
    bench.write(paths.memory_target(domid), "nonsense")
    assert bench.host.machine.domains[domid].memory_kib == MEMORY_KIB // 2


def test_a_guest_takes_its_sysrq(bench: Bench) -> None:
    domid = bench.start()
    bench.write(paths.control(domid, "sysrq"), "s")
    assert bench.read(paths.control(domid, "sysrq")) == b""
    assert "GUEST sysrq s" in bench.console[LOG]


def test_a_guest_crashes_and_reboots_on_demand(bench: Bench) -> None:
    first, second = bench.start(), bench.start()
    bench.host.crash(first)
    bench.host.reboot(second)
    assert (reason(bench, first), reason(bench, second)) == (ShutdownReason.CRASH, ShutdownReason.REBOOT)
    with pytest.raises(XenError):
        bench.host.crash(Domid(99))


@pytest.mark.parametrize(
    "image", [ImageSpec("/none", 4096, 1, 1, 2), ImageSpec("/kernel", 4096, 1, 1, 2, "/none")]
)
def test_kernel_and_ramdisk_must_exist(bench: Bench, image: ImageSpec) -> None:
    domid = bench.host.machine.create_domain(DomainSpec(UUID, Kind.PVH, 1))
    bench.host.machine.set_max_memory(domid, 8192)
    with pytest.raises(XenError) as caught:
        bench.host.build(domid, image, pv=False)
    assert caught.value.errno == errno.ENOENT


def test_words_that_are_none_of_ours_are_ignored() -> None:
    assert Behaviour().told("root=/dev/xvda quiet simple.boot=no") == Behaviour()
    assert Behaviour().told("sim.shutdown=hang 'unclosed").shutdown == "hang"


@pytest.mark.parametrize("word", ["sim.boot_s=soon", "sim.boot=never", "sim.shutdown", "sim.unknown=1"])
def test_a_word_that_means_nothing_is_refused(bench: Bench, word: str) -> None:
    with pytest.raises(XenError) as caught:
        bench.build(cmdline=word)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(XenError):
        bench.host.tell(bench.start(), word)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("web", "guest-web.log"),
        ("../../etc/passwd", "guest-.._.._etc_passwd.log"),
        ("a b/é", "guest-a_b_é.log"),
    ],
)
def test_a_log_stays_in_its_folder_whatever_the_domain_is_called(name: str, file: str) -> None:
    assert log_name(name) == file
