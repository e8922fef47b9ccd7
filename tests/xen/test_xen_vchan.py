# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest on real Xen talks to dom0's bus: its own D-Bus clients → openxt-v4v → vchan → rpc-proxy → the bus.

All daemons run, the VM is one of xenmgr's, and what the guest's programs print is on its console.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from xl_guest import CONSOLES, LINUX_BOOT_S, run, until

from effort import effort
from guest_files import initrd_with, of_dom0, ours

pytestmark = [pytest.mark.xen, pytest.mark.proof, pytest.mark.timeout(7200)]

HOUSE = Path("/run/v")
NAME = "talker"
DB, XENMGR = "com.citrix.xenclient.db", "com.citrix.xenclient.xenmgr"
FREEDESKTOP = "org.freedesktop.DBus"
DENIED = "org.freedesktop.DBus.Error.AccessDenied"
MESSAGES = effort(1_000, 100_000)  # both ways together
SECOND_S = 60

ALONE = effort(100, 1_000)  # calls one at a time; all others with 64 in flight
TOGETHER = MESSAGES // 2 - ALONE  # a call and its return are two messages

# The test tells the guest nothing: each step waits for what a call on the open connection gets.  A stream is
# left open in the end.
INIT = f"""\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
cd "/lib/modules/$(uname -r)"
while read -r module; do insmod "$module"; done <load.order
mount -t xenfs xenfs /proc/xen
ask() {{
    echo "GUEST ASKS $1: $(dbus-send --bus=unix:path=/bus --print-reply=literal --dest="$2" / "$3" $4 2>&1)"
}}
openxt-v4v listen /bus 5555 &
until [ -S /bus ]; do usleep 100000; done
ask closed {DB} {DB}.read string:/x
dbus-calls /bus 100000 1 200 {DB} / {DB} read /x >/open &
until grep -q "REPLY error" /open; do usleep 100000; done
echo "GUEST OPEN CONNECTION: $(cat /open)"
until grep -q "REPLY return" /open; do usleep 100000; done
ask opened {DB} {DB}.read string:/x
ask writing {DB} {DB}.write string:/x string:y
ask host {XENMGR} {XENMGR}.host.shutdown
ask dbd {DB} {FREEDESKTOP}.Introspectable.Introspect
until [ "$(grep -c 'REPLY error' /open)" = 2 ]; do usleep 100000; done
kill $!
ask shut {DB} {DB}.read string:/x
openxt-v4v connect 5599 </dev/null 2>&1 | sed 's/^/GUEST REFUSED /'
many() {{
    dbus-calls /bus $1 $2 0 {FREEDESKTOP} / {FREEDESKTOP} GetNameOwner {FREEDESKTOP} 2>&1 |
        sed "s/^/GUEST $2 IN FLIGHT /"
}}
many {ALONE} 1
many {TOGETHER} 64
dbus-calls /bus 1000 1 1000 {FREEDESKTOP} / {FREEDESKTOP} GetNameOwner {FREEDESKTOP} >/left &
until grep -q "REPLY return" /left; do usleep 100000; done
echo "GUEST DONE"
while :; do sleep 1000; done
"""


@pytest.fixture(scope="module")
def dom0() -> Iterator[None]:
    """All daemons on dom0's own bus; programs of ours find them."""
    command = ("openxt-house", "--xen", "--keep", "--dir", str(HOUSE), "--share", "/openxt")
    with subprocess.Popen([*command, "--start-timeout", "120"], stdout=subprocess.PIPE, text=True) as house:
        assert house.stdout is not None
        before = dict(os.environ)
        for line in iter(house.stdout.readline, "ready\n"):
            assert line, "the house did not come up"
            if found := re.match(r"export (OPENXT\w+)=(\S+)", line):
                os.environ[found[1]] = found[2]
        yield
        os.environ.clear()
        os.environ.update(before)
        house.terminate()


@pytest.fixture
def vm(dom0: None, tmp_path: Path) -> Iterator[str]:
    """The guest runs; its uuid."""
    initrd = tmp_path / "initrd"
    programs = ours("openxt-v4v", "dbus-calls") | of_dom0("dbus-send")
    initrd.write_bytes(initrd_with({"init": INIT.encode(), **programs}))
    config = {
        "virt-type": "pv",
        "hvm": "false",
        "qemu-dm-path": "",
        "kernel": "/guest/vmlinux",
        "initrd": str(initrd),
        "cmdline": "console=hvc0 quiet",
        "memory": "192",
        "disk": {"0": {"enable": "false"}},
    }
    template = json.dumps({"name": NAME, "stubdom": "false", "config": config})
    path = run("xec", "create-vm-with-template-and-json", "new-vm-linux", template)
    uuid = path.removeprefix("/vm/").replace("_", "-")
    run("db-write", f"/dom-store/{uuid}/x", "the guest's own value")
    run("xec-vm", "-n", NAME, "start")
    yield uuid
    subprocess.run(["xec-vm", "-n", NAME, "destroy"], check=False)
    run("xec-vm", "-n", NAME, "delete")


def console(domid: str) -> str:
    logs = [CONSOLES / f"guest-{name}.log" for name in (NAME, f"Domain-{domid}")]
    return "".join(log.read_text(errors="replace") for log in logs if log.exists())


def test_a_guest_reaches_what_rules_allow_and_its_open_connection_follows_them(vm: str) -> None:
    domid = run("xec-vm", "-n", NAME, "get", "domid")

    def wait_for(pattern: str, timeout_s: float = SECOND_S) -> re.Match[str]:
        what = f"the guest says {pattern!r}"
        try:
            return until(lambda: re.search(pattern, console(domid)), what, timeout_s)
        except AssertionError:
            print(console(domid), *(log.read_text() for log in (HOUSE / "log").glob("*.log")), sep="\n")
            raise

    wait_for(f"GUEST ASKS closed: .*{DENIED}", LINUX_BOOT_S)
    wait_for(f"GUEST OPEN CONNECTION: REPLY error {DENIED}")
    run("xec-vm", "-n", NAME, "set", "domstore-read-access", "true")
    wait_for("GUEST ASKS opened: +the guest's own value")
    for refused in ("writing", "host", "dbd"):
        wait_for(f"GUEST ASKS {refused}: .*{DENIED}")
    run("xec-vm", "-n", NAME, "set", "domstore-read-access", "false")
    wait_for(f"GUEST ASKS shut: .*{DENIED}")
    wait_for("GUEST REFUSED openxt-v4v: no stream: Connection refused")
    wait_for("GUEST DONE", MESSAGES)
    for line in re.findall(r"GUEST (\d+ IN FLIGHT (?:CALLS|ROUND).*)", console(domid)):
        print(line)
    for in_flight, calls in ((1, ALONE), (64, TOGETHER)):
        wait_for(f"GUEST {in_flight} IN FLIGHT CALLS {calls} RETURNS {calls} ERRORS 0 LOST 0")
    assert not run("xenstore-list", f"/local/domain/{domid}/data/v4v/0/5555")
    run("xec-vm", "-n", NAME, "destroy")
    until(lambda: len(run("xl", "list").splitlines()) == 2, "Xen has its pages back")
    assert f"domain {domid} is gone: its streams end" in (HOUSE / "log/rpc-proxy.log").read_text()
