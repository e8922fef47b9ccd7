# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for QEMU on the simulated host: a program with QEMU's options, nodes and monitor, no devices.

    python -m openxt_sim.device_model -xen-domid N … -chardev socket,id=…,path=PATH,… -mon chardev=…

It writes `running` to XenStore as QEMU does, answers QMP on PATH, and ends on SIGTERM and `quit`.
A word in the domain's name makes it fail: `sim.model=absent` ends at once, `sim.model=silent` never is ready.
"""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from openxt_core.ids import DOM0, Domid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import Op, Packet

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}
SAVED = b"simulated device state\n"
PASSED = "xen-pci-passthrough"
SWITCH, NUMBER, ANYTHING = (re.compile(form) for form in ("on|off", "[0-9]+", ".*"))
PASSED_PROPERTIES = {
    "id": re.compile(r"[A-Za-z][A-Za-z0-9._-]*"),
    "addr": re.compile(r"[01]?[0-9a-f](\.[0-7])?"),
    "hostaddr": re.compile(r"([0-9a-f]{1,4}:)?[0-9a-f]{1,2}:[01]?[0-9a-f]\.[0-7]"),
    **dict.fromkeys(("permissive", "multifunction"), SWITCH),
    **dict.fromkeys(("acpi-index", "rombar", "romsize"), NUMBER),
    **dict.fromkeys(("bus", "romfile", "failover_pair_id"), ANYTHING),
}
"""As `-device xen-pci-passthrough,help` of Debian's QEMU 7.2 lists them."""


@dataclass
class Options:
    """What of the command line matters here."""

    domid: Domid
    socket: Path
    name: str
    serial: str
    vnc: str

    devices: tuple[str, ...] = ()  # of the machine that are shown to the guest, by their ids

    @classmethod
    def of(cls, words: Sequence[str]) -> "Options":
        """Raises ValueError or KeyError for a command line that is not QEMU's."""
        given = dict(pairwise(words))
        chardev = dict(item.partition("=")[::2] for item in given["-chardev"].split(","))
        domid = Domid(int(given["-xen-domid"]))
        vnc, serial = given.get("-vnc", ""), given.get("-serial", "")
        devices = tuple(
            _passed(value) for name, value in pairwise(words) if name == "-device" and PASSED in value
        )
        return cls(domid, Path(chardev["path"]), given.get("-name", ""), serial, vnc, devices)


def _passed(text: str) -> str:
    """Of `-device xen-pci-passthrough`.  ValueError for what QEMU 7.2 does not know of it."""
    properties = dict(item.partition("=")[::2] for item in text.split(",")[1:])
    for name, value in properties.items():
        if name not in PASSED_PROPERTIES or not PASSED_PROPERTIES[name].fullmatch(value):
            raise ValueError(f"Property '{PASSED}.{name}': {value}")
    if "hostaddr" not in properties:
        raise ValueError(f"{PASSED} without hostaddr")
    return properties.get("id", "")


class Model:
    """One device model, until `over` is set."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.over = asyncio.Event()
        self.is_stopped = False
        self.discs: dict[str, object] = {}  # changed ones

    def answer(self, request: Any) -> dict[str, object]:
        """To one command, as QEMU would give it."""
        name, number = request.get("execute"), request.get("id")
        if name not in COMMANDS:
            error = {"class": "CommandNotFound", "desc": f"The command {name} has not been found"}
            return {"error": error, "id": number}
        try:
            value = COMMANDS[name](self, request.get("arguments") or {})
        except OSError as error:
            return {"error": {"class": "GenericError", "desc": str(error)}, "id": number}
        return {"return": {} if value is None else value, "id": number}

    def set_stopped(self, is_stopped: bool) -> None:
        self.is_stopped = is_stopped

    def save(self, arguments: Mapping[str, Any]) -> None:
        Path(str(arguments["filename"])).write_bytes(SAVED)

    def insert(self, drive: object, file: object) -> None:
        """OSError with QEMU's words for a file that is not there."""
        if file is not None:
            Path(str(file)).stat()
        self.discs[str(drive)] = file

    def serial_lines(self) -> object:
        is_pty = self.options.serial == "pty"
        line = {"label": "serial0", "filename": "pty:/dev/pts/0"} if is_pty else {"label": "none"}
        return [{"label": "monitor", "filename": f"unix:{self.options.socket}"}, line]

    def screen(self) -> object:
        display = self.options.vnc.partition(",")[0].rpartition(":")[2]
        return {"enabled": True, "service": str(5900 + int(display))} if display else {"enabled": False}


COMMANDS: dict[str, Callable[[Model, Mapping[str, Any]], object]] = {
    "qmp_capabilities": lambda _, __: None,
    "query-status": lambda model, _: {"status": "paused" if model.is_stopped else "running"},
    "query-chardev": lambda model, _: model.serial_lines(),
    "query-vnc": lambda model, _: model.screen(),
    "stop": lambda model, _: model.set_stopped(True),
    "cont": lambda model, _: model.set_stopped(False),
    "xen-set-global-dirty-log": lambda _, __: None,
    "xen-save-devices-state": lambda model, arguments: model.save(arguments),
    "blockdev-change-medium": lambda model, given: model.insert(given["device"], given["filename"]),
    "query-pci": lambda model, _: [
        {"bus": 0, "devices": [{"bus": 0, "qdev_id": name} for name in model.options.devices]}
    ],
    "eject": lambda model, given: model.insert(given["device"], None),
    "query-block": lambda model, _: [
        {"device": drive, **({"inserted": {"file": file}} if file else {})}
        for drive, file in model.discs.items()
    ],
    "quit": lambda model, _: model.over.set(),
}


async def converse(model: Model, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client of the monitor, until it leaves."""

    def say(words: Mapping[str, object]) -> None:
        writer.write(json.dumps(words).encode() + b"\r\n")

    say(GREETING)
    with suppress(ConnectionError, ValueError):
        while line := await reader.readline():
            if line.strip():
                say(model.answer(json.loads(line)))
                await writer.drain()
    writer.close()


def _heard(store: socket.socket, model: Model) -> None:
    """XenStore's answer is of no interest; that it ends is."""
    if not store.recv(4096):
        model.over.set()


async def serve(options: Options) -> None:
    model = Model(options)
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, model.over.set)
    store = socket.socket(socket.AF_UNIX)
    store.connect(os.environ["XENSTORED_PATH"])
    asyncio.get_running_loop().add_reader(store, lambda: _heard(store, model))
    server = await asyncio.start_unix_server(
        lambda reader, writer: converse(model, reader, writer), options.socket
    )
    async with server:
        if "sim.model=silent" not in options.name:
            state = paths.device_model_state(DOM0, options.domid)
            store.sendall(Packet(Op.WRITE, f"{state}\0running".encode()).encode())
        await model.over.wait()


def main(words: Sequence[str]) -> int:
    try:
        options = Options.of(words)
    except (KeyError, ValueError) as error:  # as QEMU: a word that nobody meant ends it
        print(f"not a command line of QEMU: {error!r}", file=sys.stderr)
        return 1
    if "sim.model=absent" in options.name:
        print("as the test asked", file=sys.stderr)
        return 1
    with suppress(OSError):
        asyncio.run(serve(options))
        options.socket.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
