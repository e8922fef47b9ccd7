# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulated machine: QEMU's command line, freezing it when its services are up, resuming it for a run.

QEMU emulates every instruction (TCG): that works anywhere, and the faster ways do not carry Xen reliably.
`thread=single` because one in some forty boots with a thread per processor crashed QEMU; `qemu64` with AMD's
virtualisation because dom0 crashes on `max`.  Disks are virtio with the IOMMU flags, as a PV dom0 must
translate addresses, and virtio's disk names are stable, unlike AHCI's.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xenbed.tools import BedError, run, say

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 1536
PROCESSORS = 2  # no faster than one here, but what races with two must be found
XEN_OPTIONS = "dom0_mem=640M,max:640M loglvl=warning guest_loglvl=warning console=com1 com1=115200,8n1"
DOM0_OPTIONS = "console=hvc0 earlyprintk=xen quiet"

SPARE_SLOT, SPARE_MAC = 0x10, "52:54:00:0e:10:00"  # a network card that dom0 has no driver for

COUNTED = ("-icount", "shift=2")  # 4 ns an instruction; while all processors are idle, time goes as ours

# A resumed machine must find its disks as large as they were when it was frozen.
PAYLOAD_BYTES = 128 << 20
RESULT_BYTES = 64 << 20
PLACEHOLDER = b"BED-PLACEHOLDER\n"  # bed-init waits until the payload disk starts with something else
READY = b"BED-READY"

BOOT_TIMEOUT_S = 300.0
FREEZE_TIMEOUT_S = 120.0
POLL_S = 0.1


@dataclass(frozen=True)
class Wiring:
    """What one start of the machine is plugged into: two disk images and two serial lines."""

    payload: Path
    result: Path
    console: str  # a QEMU character device: Xen's and dom0's messages
    output: str  # … and what the payload prints


def version() -> str:
    """QEMU's version; a frozen machine can be resumed by the version that froze it."""
    return run([QEMU, "--version"]).splitlines()[0]


def clock() -> str:
    """What a frozen machine's clocks go by: QEMU hands it the time stamp counter of our processor."""
    told = dict(
        re.findall(r"^(model name|cpu MHz)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    )
    if Path("/sys/devices/system/cpu/cpu0/cpufreq").exists():  # what is told then is the speed of the moment
        return told["model name"]
    return f"{told['model name']} at {float(told['cpu MHz']):.0f} MHz"


def blank_disk(image: Path, size: int, start: bytes = b"") -> None:
    with image.open("wb") as file:
        file.write(start)
        file.truncate(size)


@dataclass(frozen=True)
class Machine:
    """A folder with xen, vmlinuz, initramfs.gz and dom0.img, and `state` once it was frozen."""

    folder: Path

    def command(self, wiring: Wiring, *more: str) -> list[str]:
        kernel, initramfs = (str(self.folder / name) for name in ("vmlinuz", "initramfs.gz"))
        return [
            *(QEMU, "-accel", "tcg,thread=single", "-cpu", "qemu64,+svm,+npt"),
            *("-m", str(MEMORY_MIB), "-smp", str(PROCESSORS)),
            *("-display", "none", "-vga", "none", "-net", "none", "-no-reboot"),
            *("-serial", wiring.console, "-serial", wiring.output),
            *("-device", "isa-debug-exit,iobase=0x501,iosize=2"),
            *("-netdev", "user,id=spare,restrict=on"),  # leads nowhere
            *("-device", f"e1000,netdev=spare,romfile=,addr={SPARE_SLOT:#x},mac={SPARE_MAC}"),
            *_disk("root", self.folder / "dom0.img", "readonly=on"),
            *_disk("payload", wiring.payload, "readonly=on"),
            *_disk("result", wiring.result, "readonly=off"),
            *("-kernel", str(self.folder / "xen"), "-append", XEN_OPTIONS),
            *("-initrd", f"{_doubled(kernel)} {DOM0_OPTIONS},{_doubled(initramfs)}"),
            *more,
        ]

    def cold(self, wiring: Wiring, *, counted: bool = False) -> list[str]:
        """`counted`: the machine's clocks go by the instructions that it executes, not by our time."""
        return self.command(wiring, *(COUNTED if counted else ()))

    def resumed(self, wiring: Wiring) -> list[str]:
        state = shlex.quote(str(self.folder / "state"))
        return self.command(wiring, "-incoming", f"exec:cat {state}")

    def freeze(self) -> None:
        """Boot, wait until dom0 waits for a payload, and keep that moment in `state`."""
        wiring = Wiring(
            self.folder / "frozen-payload.img",
            self.folder / "frozen-result.img",
            f"file:{self.folder / 'frozen-console.log'}",
            "null",
        )
        blank_disk(wiring.payload, PAYLOAD_BYTES, PLACEHOLDER)
        blank_disk(wiring.result, RESULT_BYTES)
        monitor = self.folder / "monitor"
        qemu = subprocess.Popen(self.command(wiring, "-qmp", f"unix:{monitor},server=on,wait=off"))
        try:
            self._wait_until_ready(qemu)
            _save(monitor, self.folder / "state")
        finally:
            qemu.kill()
            qemu.wait()
            for file in (monitor, wiring.payload, wiring.result):
                file.unlink(missing_ok=True)

    def _wait_until_ready(self, qemu: subprocess.Popen[bytes]) -> None:
        console = self.folder / "frozen-console.log"
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while not (console.exists() and READY in console.read_bytes()):
            if qemu.poll() is not None or time.monotonic() > deadline:
                said = console.read_text(errors="replace")[-3000:] if console.exists() else ""
                raise BedError(f"dom0 did not come up\n{said}")
            time.sleep(POLL_S)


def _disk(name: str, image: Path, option: str) -> Sequence[str]:
    drive = f"if=none,format=raw,id={name},{option},file={_doubled(str(image))}"
    return ("-drive", drive, "-device", f"virtio-blk-pci,drive={name},disable-legacy=on,iommu_platform=on")


def _doubled(path: str) -> str:
    """A comma ends a value in QEMU's options, two stand for one."""
    return path.replace(",", ",,")


def _save(monitor: Path, state: Path) -> None:
    """Migrate the running machine into a file.  It must run until then, or it does not wake up well."""
    say("freezing the machine")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(FREEZE_TIMEOUT_S)
        connection.connect(str(monitor))
        with connection.makefile("rwb") as lines:
            lines.readline()  # the greeting
            _ask(lines, "qmp_capabilities")
            _ask(lines, "migrate-set-parameters", {"max-bandwidth": 10 << 30})
            _ask(lines, "migrate", {"uri": f"exec:cat > {shlex.quote(str(state))}"})
            _wait_until_saved(lines)


def _wait_until_saved(lines: Any) -> None:
    deadline = time.monotonic() + FREEZE_TIMEOUT_S
    while (status := _ask(lines, "query-migrate").get("status")) != "completed":
        if status in ("failed", "cancelled") or time.monotonic() > deadline:
            raise BedError(f"the machine could not be frozen: migration is {status}")
        time.sleep(POLL_S)


def _ask(lines: Any, command: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    """One QMP command.  Events that come before the answer are of no interest."""
    lines.write(json.dumps({"execute": command, "arguments": arguments or {}}).encode())
    lines.flush()
    while True:
        message = json.loads(lines.readline())
        if "error" in message:
            raise BedError(f"QEMU refused {command}: {message['error']['desc']}")
        if "return" in message:
            answer: dict[str, Any] = message["return"]
            return answer
