# SPDX-License-Identifier: GPL-2.0-or-later
"""Show the life of a VM: every command as a user types it, what it prints, and each state change.

Only runs programs (xec, xec-vm, busctl, dbus-send, gdbus); it has no way of its own into the toolstack.
"""

import asyncio
import contextlib
import difflib
import json
import re
import shlex
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openxt_house.layout import Layout
from openxt_house.services import V4V_PORT

XENMGR = "com.citrix.xenclient.xenmgr"
VM = f"{XENMGR}.vm"
COMMAND_TIMEOUT_S = 120.0
_SHOWN_SIGNALS = ("vm_state_changed", "vm_created", "vm_deleted")


class LifeFailed(Exception):
    """A command failed, or a promise of the demonstration was not kept."""


@dataclass(frozen=True)
class Guest:
    """A VM to show."""

    name: str
    kind: str  # pv or pvh
    kernel: Path
    initrd: Path
    cmdline: str = ""
    memory_mib: int = 128

    def template_json(self) -> str:
        """What is merged over the template `new-vm-linux`: no device model, no CD, a kernel of ours."""
        config = {
            "hvm": "false",
            "virt-type": self.kind,
            "qemu-dm-path": "",
            "kernel": str(self.kernel),
            "initrd": str(self.initrd),
            "cmdline": self.cmdline,
            "memory": str(self.memory_mib),
            "disk": {"0": {"enable": "false"}},
        }
        return json.dumps({"name": self.name, "stubdom": "false", "config": config})


class Shell:
    """Runs commands in a host's environment and shows them."""

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._environ = dict(environ)
        self._say = say

    async def run(self, *argv: str, may_fail: bool = False) -> str:
        """What the command printed on stdout, without the last newline.  Raises LifeFailed."""
        self._say(f"$ {shlex.join(argv)}")
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            output, _ = await process.communicate()
        text = output.decode(errors="replace").rstrip("\n")
        if text:
            self._say(text)
        if process.returncode and not may_fail:
            raise LifeFailed(f"{shlex.join(argv)} ended with {process.returncode}")
        return text

    @contextlib.asynccontextmanager
    async def signals_shown(self) -> AsyncIterator[None]:
        """While inside, xenmgr's signals are shown as they come."""
        process = await asyncio.create_subprocess_exec(
            *("gdbus", "monitor", "--system", "--dest", XENMGR),
            env=self._environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        await process.stdout.readline()  # "Monitoring signals…": from here on nothing is missed
        reader = asyncio.create_task(self._show(process.stdout))
        try:
            yield
        finally:
            process.terminate()
            await process.wait()
            await reader

    async def _show(self, lines: asyncio.StreamReader) -> None:
        async for raw in lines:
            line = raw.decode(errors="replace").strip()
            if any(f".{name} " in line for name in _SHOWN_SIGNALS):
                self._say(f"    ~ {line}")


@dataclass(frozen=True)
class Life:
    """The life of one VM on one host."""

    layout: Layout
    shell: Shell
    say: Callable[[str], None]

    async def show(self, guest: Guest) -> None:
        self.say(f"\n# The life of {guest.name}, a {guest.kind.upper()} guest")
        async with self.shell.signals_shown():
            path = await self._create(guest)
            await self._running(guest, path)
            await self._end(guest)

    async def _create(self, guest: Guest) -> str:
        path = await self.shell.run(
            "xec", "create-vm-with-template-and-json", "new-vm-linux", guest.template_json()
        )
        await self.shell.run("xec", "list-vms")
        await self.shell.run("xec-vm", "-n", guest.name, "get", "memory")
        return path

    async def _running(self, guest: Guest, path: str) -> None:
        await self.shell.run("xec-vm", "-n", guest.name, "start")
        await self.shell.run("xec-vm")
        await self.shell.run("busctl", "--system", "get-property", XENMGR, path, VM, "state")
        domid = await self.shell.run("xec-vm", "-n", guest.name, "get", "domid")
        await self._console(guest, domid)
        if self.layout.simulated:
            await self._as_guest(domid)
        else:
            await self.shell.run("xl", "list")
        await self.shell.run("xec-vm", "-n", guest.name, "pause")
        await self.shell.run("xec-vm", "-n", guest.name, "get", "state")
        await self.shell.run("xec-vm", "-n", guest.name, "unpause")

    async def _console(self, guest: Guest, domid: str) -> None:
        """Wait for the guest's own word that it is up, and show it."""
        # xenconsoled names its log when it first looks: before or after the VM's name replaced the default
        consoles = [self.layout.consoles / f"guest-{name}.log" for name in (f"Domain-{domid}", guest.name)]
        for _ in range(600):
            texts = {one: one.read_text(errors="replace") for one in consoles if one.exists()}
            console = next((one for one, text in texts.items() if "GUEST READY" in text), None)
            if console is not None:
                break
            await asyncio.sleep(0.1)
        else:
            raise LifeFailed(f"the guest did not come up; its console: {''.join(texts.values())[-2000:]!r}")
        self.say(f"# its console, {console}")
        for line in re.findall(r"GUEST [A-Z]+.*", texts[console]):
            self.say(f"    | {line.strip()}")

    async def _as_guest(self, domid: str) -> None:
        """The guest talks to the bus through rpc-proxy: what a rule allows, and what none does."""
        self.say("# the guest itself asks, through rpc-proxy")
        address = f"unix:path={self.layout.places.run}/guests/{domid}/{V4V_PORT}"
        busctl = ("busctl", f"--address={address}", "call")
        await self.shell.run(*busctl, XENMGR, "/", XENMGR, "list_vms")
        refused = await self.shell.run(*busctl, XENMGR, "/host", f"{XENMGR}.host", "shutdown", may_fail=True)
        if "denied" not in refused.lower():
            raise LifeFailed("rpc-proxy let a guest shut the host down")

    async def _end(self, guest: Guest) -> None:
        await self.shell.run("xec-vm", "-n", guest.name, "shutdown")
        await self.shell.run("xec-vm", "-n", guest.name, "get", "state")
        await self.shell.run("xec-vm", "-n", guest.name, "delete")
        send = ("dbus-send", "--system", "--print-reply", f"--dest={XENMGR}", "/", f"{XENMGR}.list_vms")
        await self.shell.run(*send)


async def show_lives(layout: Layout, environ: Mapping[str, str], guests: Sequence[Guest]) -> None:
    """The lives of all `guests`, one after the other, on standard output.  Raises LifeFailed."""

    def say(text: str) -> None:
        print(text, flush=True)

    shell = Shell(environ, say)
    before = [] if layout.simulated else await _xenstore(environ)
    for guest in guests:
        await Life(layout, shell, say).show(guest)
    if not layout.simulated:
        _compare(before, await _xenstore(environ))
        say(f"\n# xenstore-ls: the same {len(before)} lines before and after")


async def _xenstore(environ: Mapping[str, str]) -> list[str]:
    """All of xenstore, by Xen's own tool."""
    lines: list[str] = []
    output = await Shell(environ, lines.append).run("xenstore-ls", "-f")
    return output.splitlines()


def _compare(before: Sequence[str], after: Sequence[str]) -> None:
    if before != after:
        changed = "\n".join(difflib.unified_diff(before, after, "before", "after", lineterm="", n=0))
        raise LifeFailed(f"xenstore is not as it was:\n{changed}")
