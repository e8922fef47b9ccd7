# SPDX-License-Identifier: GPL-2.0-or-later
"""The tasks about devices: what clients say, in the words of the config file.  A table.

Source of names and parameters: OpenXT xenvm, 2015.  Its `*-del` tasks did nothing: their parameters are ours.
"""

from collections.abc import Callable

from openxt_core.ids import Domid
from openxt_xenvm import listings
from openxt_xenvm.config import lines
from openxt_xenvm.config.model import Disk, Nic, PciAddress
from openxt_xenvm.config.values import read_natural
from openxt_xenvm.errors import InvalidConfig, TaskRefused
from openxt_xenvm.monitor import Monitor
from openxt_xenvm.task import FORCED, Arguments, Param, Task, optional


def _disk(line: str) -> Disk:
    try:
        return lines.read_disk(line)
    except ValueError as error:
        raise InvalidConfig(str(error)) from None


def _nic(line: str) -> Nic:
    try:
        return lines.read_nic(line)
    except ValueError as error:
        raise InvalidConfig(str(error)) from None


async def _disk_add(monitor: Monitor, given: Arguments) -> None:
    await _add_disk(monitor, _line(*(given[name] for name in ("path", "type", "device", "mode", "devtype"))))


def _line(*words: str) -> str:
    """A disk in the words of the config file, where a colon ends a word."""
    for word in words:
        if ":" in word or "\n" in word:
            raise InvalidConfig(f"{word[:60]!r}: a colon or a line break is not possible in it")
    return f"{':'.join(words)}:"


async def _add_disk(monitor: Monitor, line: str) -> None:
    disk = _disk(line)
    await monitor.operate("disk-add", lambda: monitor.hotplug.add_disk(disk))


async def _disk_del(monitor: Monitor, given: Arguments) -> None:
    virtpath, forced = given["device"], given["forced"]
    await monitor.operate("disk-del", lambda: monitor.hotplug.remove_disk(virtpath, forced=forced))


async def _nic_add(monitor: Monitor, given: Arguments) -> None:
    """`bridge` may be a network's object path, as which the original took it."""
    place = given["bridge"]
    keys = {
        "network" if place.startswith("/") else "bridge": place,
        "mac": given["mac"],
        "model": given["model"],
    }
    await _add_nic(monitor, ",".join(f"{key}={value}" for key, value in keys.items() if value))


async def _add_nic(monitor: Monitor, line: str) -> None:
    nic = _nic(line)

    async def add() -> None:
        await monitor.hotplug.add_nic(nic)

    await monitor.operate("nic-add", add)


async def _nic_del(monitor: Monitor, given: Arguments) -> None:
    id_, forced = given["id"], given["forced"]
    await monitor.operate("nic-del", lambda: monitor.hotplug.remove_nic(id_, forced=forced))


async def _pci_add(monitor: Monitor, given: Arguments) -> None:
    options = {"msitranslate": given["msitranslate"], "power_mgmt": given["power_mgmt"]}
    pairs = (f",{name}={int(value)}" for name, value in options.items() if value is not None)
    bind = ",bind" if given["bind"] else ""
    await _add_pci(monitor, f"{given['id']}{bind},{_given_address(given)}{''.join(pairs)}")


def _given_address(given: Arguments) -> str:
    return f"{given['domain']:04x}:{given['bus']:02x}:{given['slot']:02x}.{given['func']:x}"


async def _add_pci(monitor: Monitor, line: str) -> None:
    try:
        device = lines.read_pci(line)
    except ValueError as error:
        raise InvalidConfig(str(error)) from None
    await monitor.operate("pci-add", lambda: monitor.hotplug.add_pci(device))


async def _pci_del(monitor: Monitor, given: Arguments) -> None:
    address, forced = _address(_given_address(given)), given["forced"]
    await monitor.operate("pci-del", lambda: monitor.hotplug.remove_pci(address, forced=forced))


async def _set_backend(monitor: Monitor, given: Arguments) -> None:
    id_, domid = given["id"], Domid(given["domid"])
    await monitor.operate("set-nic-backend-dom", lambda: monitor.hotplug.move_nic(id_, domid))


async def _switch(monitor: Monitor, given: Arguments) -> None:
    id_, network = given["id"], given["network"]
    await monitor.operate("nic-network-switch", lambda: monitor.hotplug.switch_network(id_, network))


async def _insert(monitor: Monitor, given: Arguments, type_: str) -> None:
    """No path: the same as eject."""
    virtpath, path = given["virtpath"], given["physpath"]
    if not path:
        await _eject(monitor, given)
        return
    disc = _disk(_line(path, type_, virtpath, "r", "cdrom"))
    await monitor.operate("cd-insert", lambda: monitor.hotplug.change_disc(virtpath, disc.path, type_))


async def _eject(monitor: Monitor, given: Arguments) -> None:
    virtpath = given["virtpath"]
    await monitor.operate("cd-eject", lambda: monitor.hotplug.change_disc(virtpath, "", "file"))


LISTS: dict[str, Callable[[Monitor], str]] = {
    "disk": lambda monitor: listings.device_disks(monitor.vm.active),
    "nic": lambda monitor: listings.device_nics(monitor.vm.active),
    "pci": lambda monitor: listings.device_pci(monitor.vm.active),
}
ADDERS = {"disk": _add_disk, "nic": _add_nic, "pci": _add_pci}
REMOVERS = {
    "disk": lambda monitor, word, forced: monitor.hotplug.remove_disk(word, forced=forced),
    "nic": lambda monitor, word, forced: monitor.hotplug.remove_nic(_number(word), forced=forced),
    "pci": lambda monitor, word, forced: monitor.hotplug.remove_pci(_address(word), forced=forced),
}
ALIASES = {"vbd": "disk", "vif": "nic"}


async def _device(monitor: Monitor, given: Arguments) -> str | None:
    """One word for many tasks; `extra` is a line of the config file, or the name of what shall go."""
    type_, command, extra = given["type"], given["cmd"], given["extra"]
    kind = ALIASES.get(type_, type_)
    if kind not in LISTS or command not in ("list", "add", "del", "rm"):
        raise TaskRefused(f"{type_[:60]} {command[:60]}: exception")
    if command == "list":
        return LISTS[kind](monitor)
    if command == "add":
        await ADDERS[kind](monitor, extra)
    else:
        await monitor.operate(f"{kind}-del", lambda: REMOVERS[kind](monitor, extra, False))
    return None


def _address(word: str) -> PciAddress:
    try:
        return lines.read_pci_address(word)
    except ValueError as error:
        raise InvalidConfig(str(error)) from None


def _number(word: str) -> int:
    try:
        return read_natural(word)
    except ValueError as error:
        raise InvalidConfig(str(error)) from None


VIRTPATH = Param("virtpath")
DISC = (VIRTPATH, Param("physpath"))
DISK = (Param("path"), Param("device"), Param("type"), Param("mode"), Param("devtype"))
NIC = (optional("bridge", default=""), optional("mac", default=""), optional("model", default=""))

ADDRESS = (Param("domain", "i"), Param("bus", "i"), Param("slot", "i"), Param("func", "i"))
PCI = (
    Param("id", "i"),
    *ADDRESS,
    optional("bind", "b", default=True),
    optional("msitranslate", "b"),
    optional("power_mgmt", "b"),
)

TASKS = (
    Task("device",              _device, (Param("type"), Param("cmd"), optional("extra", default=""))),
    Task("disk-add",            _disk_add, DISK),
    Task("nic-add",             _nic_add, NIC),
    Task("cd-eject",            _eject, (VIRTPATH,)),
    Task("cd-insert-file",      lambda m, given: _insert(m, given, "file"), DISC),
    Task("cd-insert-real",      lambda m, given: _insert(m, given, "phy"), DISC),
    Task("nic-network-switch",  _switch, (Param("id", "i"), Param("network"))),
    Task("set-nic-backend-dom", _set_backend, (Param("id", "i"), Param("domid", "i"))),
    Task("disk-del",            _disk_del, (Param("device"), FORCED)),
    Task("nic-del",             _nic_del, (Param("id", "i"), FORCED)),
    Task("disk-list",           lambda m, _: listings.disks(m.vm.active)),
    Task("nic-list",            lambda m, _: listings.nics(m.vm.active)),
    Task("pci-add",             _pci_add, PCI),
    Task("pci-del",             _pci_del, (*ADDRESS, FORCED)),
    Task("pci-list",            lambda m, _: listings.pci_devices(m.vm.active.pci)),
)  # fmt: skip
