# SPDX-License-Identifier: GPL-2.0-or-later
"""xenops on real Xen: what it prints is what Xen's own tool, xl, says; what it makes runs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from xl_guest import CONSOLES, LINUX_BOOT_S, run, until

pytestmark = [pytest.mark.xen, pytest.mark.timeout(600)]

MEMORY_KIB = 128 * 1024


def xenops(*words: object) -> str:
    return run("xenops", *map(str, words))


def xl_info() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)\s*: (.*)$", run("xl", "info"), re.MULTILINE))


def console(domid: str) -> str:
    return (CONSOLES / f"guest-Domain-{domid}.log").read_text(errors="replace")


@pytest.fixture
def domid(no_domain_is_left: None) -> Iterator[str]:
    """A Linux guest, built and paused."""
    domid = xenops("create_domain", "-vcpus", 2)
    words = ("-vcpus", 2, "-memory", MEMORY_KIB, "-kernel", "/guest/vmlinux", "-ramdisk", "/guest/initrd.gz")
    xenops("build_domain", "-domid", domid, *words, "-cmdline", "console=hvc0 quiet")
    yield domid
    xenops("destroy_domain", "-domid", domid)


def test_the_host_is_as_xl_sees_it() -> None:
    ours, theirs = dict(re.findall(r"^(\w+) = (\S*)", xenops("physinfo"), re.MULTILINE)), xl_info()
    for name in ("nr_cpus", "threads_per_core", "cores_per_socket"):
        assert ours[name] == theirs[name]
    assert ours["cpu_khz"] == str(int(float(theirs["cpu_mhz"]) * 1000))
    assert int(ours["total_pages"]) // 256 == int(theirs["total_memory"])
    assert len(xenops("pcpuinfo").splitlines()) == int(theirs["nr_cpus"])
    assert xenops("capabilities").split() == theirs["xen_caps"].split()


def test_the_hypervisors_log_is_xls() -> None:
    xenops("debugkeys", "h")
    assert "'h' pressed" in xenops("dmesg")
    assert run("xl", "dmesg").splitlines()[0] in xenops("dmesg")


@pytest.mark.fresh
def test_a_guest_made_by_hand_boots_and_is_as_xl_sees_it(domid: str, tmp_path: Path) -> None:
    xenops("unpause_domain", "-domid", domid)
    until(lambda: "GUEST READY" in console(domid), "the guest is up", LINUX_BOOT_S)
    rows = {row[0]: row for row in (line.split(None, 6) for line in run("xl", "list", "-v").splitlines()[1:])}
    ours = {line.split("|")[0].strip(): line for line in xenops("list_domains").splitlines()[1:]}
    assert len(rows) == len(ours) == 2
    assert run("xl", "domname", domid) == f"Domain-{domid}"
    assert xenops("dom-uuid", "-domid", domid) in run("xl", "list", "-v")
    assert xenops("dom-uuid", "-domid", domid) in ours[domid]
    assert re.search(
        r"console\[0\] is \w+ to dom\(0\) ty\(console\)", xenops("list_devices", "-domid", domid)
    )
    _shares_and_places(domid)
    _file_and_back(domid, tmp_path / "saved")


def _shares_and_places(domid: str) -> None:
    assert xenops("sched_get", "-domid", domid) == "256 0"
    xenops("sched_domain", "-domid", domid, "-weight", 300, "-cap", 50)
    assert re.search(r"\b300\s+50$", run("xl", "sched-credit2", "-d", domid), re.MULTILINE)
    assert xenops("affinity_get", "-domid", domid, "-vcpu", 1) == "11"
    xenops("affinity_set", "-domid", domid, "-vcpu", 1, "-bitmap", "01")
    assert xenops("affinity_get", "-domid", domid, "-vcpu", 1) == "01"
    (line,) = (line for line in run("xl", "vcpu-list", domid).splitlines() if line.split()[2] == "1")
    assert line.split("/")[0].split()[-1] == "1"


def _file_and_back(domid: str, file: Path) -> None:
    """The guest obeys after its checkpoint, and its copy is a domain of its own."""
    xenops("chkpoint_domain", "-domid", domid, "-file", file)
    again = xenops("create_domain", "-vcpus", 2)
    try:
        xenops("restore_domain", "-domid", again, "-file", file, "-vcpus", 2, "-memory", MEMORY_KIB)
        xenops("unpause_domain", "-domid", again)
        for one in (again, domid):
            xenops("shutdown_domain", "-domid", one, "-poweroff", "-sync")
            until(lambda one=one: "GUEST shutdown poweroff" in console(one), f"{one} obeyed")
    finally:
        xenops("destroy_domain", "-domid", again)
