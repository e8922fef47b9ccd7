# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion of xec and xec-vm: what is offered, and what real shells put into the line at a TAB."""

import asyncio
import os
import pty
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from xec_house import House, running

PROGRAMS = Path(sys.executable).parent
TAB = b"\t"
# how to start a shell without the user's own settings, and what it needs before it takes a completion
SHELLS = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], "bind 'set bell-style none'"),
    "zsh": (["zsh", "-f", "-i"], "unsetopt beep zle_bracketed_paste; autoload -U compinit; compinit -D -u"),
}


@pytest.fixture
async def house(bus_address: str, tmp_path: Path) -> AsyncIterator[House]:
    async with running(bus_address, tmp_path) as one:
        yield one


async def offered(house: House, program: str, *words: str) -> list[str]:
    return (await house.prints(program, "--complete", *words)).splitlines()


async def test_names_come_from_the_running_daemons(house: House) -> None:
    assert "com.citrix.xenclient.xenmgr" in await offered(house, "xec", "-s", "com.")
    assert await offered(house, "xec", "add") == ["add-up"]
    assert await offered(house, "xec-vm", "-n", "st") == ["stopped one"]
    assert await offered(house, "xec-vm", "-d", "1") == ["12"]
    assert await offered(house, "xec-vm", "-d", "3", "-k", "") == ["0"]
    assert await offered(house, "xec-vm", "-d", "3", "-c", "") == ["7"]
    assert await offered(house, "xec-vm", "-d", "3", "get", "st") == ["state", "start-on-boot"]
    assert await offered(house, "xec-vm", "-d", "3", "-x", "start-on-boot", "") == ["true", "false"]
    assert await offered(house, "xec-vm", "-d", "3", "set", "start-on-boot", "t") == ["true"]
    assert await offered(house, "xec-vm", "-d", "3", "-k", "0", "get", "") == ["phys-path"]
    assert await offered(house, "xec", "--completion", "") == ["bash", "zsh", "fish"]
    assert "--json" in await offered(house, "xec", "--j")
    assert "com.citrix.xenclient.xenmgr.vm" in await offered(house, "xec-vm", "-n", "ndvm", "-i", "com")


async def test_nothing_is_offered_where_nothing_is_known(house: House) -> None:
    assert await offered(house, "xec-vm", "-n", "nobody", "get", "") == []
    assert await offered(house, "xec", "-x", "memory", "") == []
    assert await offered(house, "xec", "--what", "") == []
    result = await house.run("xec", "--complete", "-s", "", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nowhere")
    assert (result.status, result.out, result.err) == (0, "", "")


async def test_an_unknown_shell_is_named(house: House) -> None:
    assert "no completion for 'csh'" in await house.fails("xec --completion csh")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("xec-vm -n stop", "xec-vm -n stopped\\ one"),
        ("xec-vm -n ndvm get sta", "xec-vm -n ndvm get sta"),
        ("xec add", "xec add-up"),
        ("xec-vm -d 3 -k ", "xec-vm -d 3 -k 0"),
        ("xec-vm -d 3 -c ", "xec-vm -d 3 -c 7"),
        ("xec-vm -d 3 add", "xec-vm -d 3 add-pt-rule"),
        ('xec-vm -n "stop', 'xec-vm -n "stopped one"'),
    ],
)
async def test_tab_completes_the_line(house: House, shell: str, typed: str, becomes: str) -> None:
    terminal = await Terminal.start(shell, house)
    try:
        assert becomes in await terminal.type_and_tab(typed)
    finally:
        await terminal.end()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("xec-vm -n stop", ["stopped one"]),
        ("xec-vm -d 3 -k ", ["0"]),
        ("xec-vm -d 3 -c ", ["7"]),
        ("xec-vm -d 3 add", ["add-pt-rule"]),
        ("xec-vm -d 3 get st", ["start-on-boot", "state"]),
    ],
)
async def test_fish_completes_the_line(house: House, typed: str, words: list[str]) -> None:
    script = f"xec-vm --completion fish | source; complete -C '{typed}'"
    process = await asyncio.create_subprocess_exec(
        "fish", "--no-config", "-c", script, stdout=-1, env={**os.environ, **environ(house)}
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert sorted(out.decode().splitlines()) == words


def environ(house: House) -> dict[str, str]:
    return {**house.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "TERM": "dumb", "LC_ALL": "C.UTF-8"}


class Terminal:
    """A shell at a terminal, as a person has it."""

    def __init__(self, descriptor: int, process: asyncio.subprocess.Process) -> None:
        self._descriptor = descriptor
        self._process = process

    @classmethod
    async def start(cls, shell: str, house: House) -> "Terminal":
        argv, setup = SHELLS[shell]
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environ(house), start_new_session=True
        )
        os.close(theirs)
        os.set_blocking(ours, False)
        terminal = cls(ours, process)
        scripts = f"$(xec --completion {shell}; xec-vm --completion {shell})"
        os.write(ours, f"{setup}; eval \"{scripts}\"; PS1='rea''dy> '\n".encode())
        # The line editor prompts when it has the terminal; what is typed before is no key to it.
        await terminal._until(lambda text: b"ready> " in text)
        return terminal

    async def type_and_tab(self, typed: str) -> str:
        """What the terminal shows after the line was typed, TAB pressed, and the line given up."""
        os.write(self._descriptor, typed.encode() + TAB)
        os.write(self._descriptor, b"\x15echo en''d\n")  # clears the line: what was shown stays shown
        text = await self._until(lambda text: b"\nend" in text)
        return text.decode()

    async def end(self) -> None:
        self._process.kill()
        await self._process.wait()
        os.close(self._descriptor)

    async def _until(self, is_there: Callable[[bytes], bool]) -> bytes:
        text = b""
        async with asyncio.timeout(30):
            while not is_there(text):
                try:
                    text += os.read(self._descriptor, 65536)
                except BlockingIOError:
                    await asyncio.sleep(0.02)
        return text
