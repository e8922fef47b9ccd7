# SPDX-License-Identifier: GPL-2.0-or-later
"""The desktop with guests of real Xen: the network VM is a Linux that serves the card of another Linux.

Each says on its console what it does and sees.  The UI VM and the second user VM are tiny: what they are
there for is to be started, stopped and left alone.
"""

import asyncio
from pathlib import Path

from desktop import NETWORK, PLAY, UI, WORK
from machine import GUEST, Machine

from guest_files import PRELUDE, initrd_with, modules_of_dom0, of_dom0

UUIDS = {UI: "00000000-0000-0000-0000-000000000001", NETWORK: "00000000-0000-0000-0000-000000000002"}
CARD, MAC = "0000:00:10.0", "52:54:00:0e:10:00"
PCI = Path("/sys/bus/pci")
SCRIPTS = Path("/openxt/scripts/udev")
STORE = ("xenstore-exists", "xenstore-read", "xenstore-write", "xenstore-rm")
MODULES = ("llc", "stp", "bridge", "xen-netback")
SERVER = "10.79.0.1"
NO_SCREEN = {"vkbd": "false", "vfb": "false", "qemu-dm-path": ""}

# Its backends are made ready by the project's own script, as udev would run it.
NETWORK_INIT = f"""\
{PRELUDE}
echo "GUEST UP $(cat /proc/cmdline)"
for module in {" ".join(MODULES)}; do insmod "/more/$module.ko"; done
brctl addbr served
ip addr add {SERVER}/24 dev served
ip link set served up
mkdir /www
echo "network domain $(xenstore-read domid)" >/www/who
httpd -p 80 -h /www
uevent /usr/lib/openxt/hotplug/like-udev &
until awk '$2 == 15 && $3 > 0 {{ found = 1 }} END {{ exit !found }}' /proc/net/netlink; do usleep 50000; done
xenstore-write booted 1
echo "GUEST READY"
until for card in /sys/class/net/eth*; do [ -e "$card/device/vendor" ]; done; do usleep 200000; done
echo "GUEST HAS $(cat "$card/device/vendor"):$(cat "$card/device/device") $(cat "$card/address")"
while :; do sleep 1000; done
"""

# What a network daemon does as well: it knows which bridge an object path of a network means.
LIKE_UDEV = """\
#!/bin/busybox sh
[ "$SUBSYSTEM" = xen-backend ] || exit 0
case "$ACTION" in online) ip link set dev "$vif" master served && ip link set dev "$vif" up ;; esac
exec /bin/sh /usr/lib/openxt/hotplug/vif "$ACTION"
"""

# A static busybox has no wget without the host's name services.
WORK_INIT = f"""\
{PRELUDE}
echo "GUEST UP $(cat /proc/cmdline)"
heard=
while :; do
    for card in /sys/class/net/eth*; do
        [ -e "$card" ] || continue
        ip addr add 10.79.0.2/24 dev "${{card##*/}}" 2>/dev/null && ip link set "${{card##*/}}" up
    done
    now="$(printf 'GET /who HTTP/1.0\\r\\n\\r\\n' | timeout 5 nc -w 2 {SERVER} 80 2>/dev/null | tail -n 1)"
    [ "$now" = "$heard" ] || echo "GUEST HEARS ${{now:-nothing}}"
    heard="$now"
    usleep 200000
done
"""


async def desktop_on_xen(it: Machine, folder: Path) -> None:
    """All of it, stopped, and to be started when the host boots.  The machine's spare card is taken out."""
    scripts = {f"usr/lib/openxt/hotplug/{name}": (SCRIPTS / name).read_bytes() for name in ("vif", "report")}
    scripts["usr/lib/openxt/hotplug/like-udev"] = LIKE_UDEV.encode()
    tools = {path: content for name in STORE for path, content in of_dom0(name).items()}
    files = scripts | tools | modules_of_dom0(*MODULES)
    await _service_vm(it, NETWORK, "ndvm", linux(NETWORK, folder / "ndvm", NETWORK_INIT, files))
    tiny = {"kernel": str(GUEST / "tiny-pv"), "memory": "8", "cmdline": f"vm={UI}"}
    await _service_vm(it, UI, "uivm", {**tiny, **NO_SCREEN})
    await it.owner(UI, "set", "s3-mode", "ignore")
    nic = {"0": {"id": "0", "network": "/wired/0/bridged"}}
    await it.create(WORK, more=_starts_by_itself(5), nic=nic, **linux(WORK, folder / "work", WORK_INIT, {}))
    await it.create(PLAY, more=_starts_by_itself(1))
    await take_out()


async def _service_vm(it: Machine, name: str, tag: str, config: dict[str, str]) -> None:
    """The VM of the template, with a kernel of the bed's in place of its disks."""
    uuid = UUIDS[name]
    it.paths[name] = f"/vm/{uuid.replace('-', '_')}"
    await it.db("write", f"/xenmgr/overwrite-{tag}-settings", "false")
    await it.db("rm", f"/vm/{uuid}/config/disk")
    await it.db("write", f"/vm/{uuid}/measured", "false")
    for key, value in {"kernel-extract": "", **config}.items():
        await it.db("write", f"/vm/{uuid}/config/{key}", value)


def _starts_by_itself(priority: int) -> dict[str, str]:
    return {"start_on_boot": "true", "start_on_boot_priority": str(priority), "s3-mode": "ignore"}


def linux(name: str, folder: Path, init: str, files: dict[str, bytes]) -> dict[str, str]:
    """The config of the bed's Linux, with a first program of our own."""
    folder.mkdir()
    initrd = folder / "initrd"
    initrd.write_bytes(initrd_with({"init": init.encode(), **files}))
    given = {"kernel": str(GUEST / "vmlinux"), "initrd": str(initrd), "memory": "128"}
    return {**given, "cmdline": f"console=hvc0 quiet vm={name}"}


async def take_out() -> None:
    """The machine's spare network card, as if a hand had taken it out."""
    await asyncio.to_thread((PCI / "devices" / CARD / "remove").write_text, "1")


async def put_in() -> None:
    await asyncio.to_thread((PCI / "rescan").write_text, "1")


async def network_is_served(it: Machine) -> None:
    """The first user VM hears the domain that the network VM is now."""
    await it.until_says(WORK, f"GUEST HEARS network domain {await it.vm(NETWORK, 'get', 'domid')}\n")
