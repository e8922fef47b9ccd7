# SPDX-License-Identifier: GPL-2.0-or-later
"""Hooks: programs and calls that a VM's configuration names, run when something happens to it.

Grammar: hooks separated by `;`, run one after another; the first that fails ends the list.  A hook is
the path of a program, run without a shell, or `rpc:destination=…,interface=…,member=…[,objpath=…][,vm=…]`.
Source: OpenXT xenmgr, 2015.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from openxt_core.errors import BadRequest, Refused, Unavailable
from openxt_core.spec import Caller

log = logging.getLogger(__name__)

_REQUIRED = ("destination", "interface", "member")
OUTPUT_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Program:
    path: str


@dataclass(frozen=True, slots=True)
class Rpc:
    """A method call whose arguments are all texts."""

    destination: str
    interface: str
    member: str
    path: str = "/"
    vm: str = ""  # uuid of the VM whose own bus is meant; empty: our bus


def parse_hooks(text: str) -> tuple[Program | Rpc, ...]:
    """Raises BadRequest for an rpc hook without one of its required keys."""
    return tuple(_parse_one(part.strip()) for part in text.split(";") if part.strip())


def _parse_one(text: str) -> Program | Rpc:
    if not text.startswith("rpc:"):
        return Program(text)
    words = "".join(text.removeprefix("rpc:").split()).split(",")
    pairs = (word.split("=") for word in words)
    found = {pair[0]: _unquoted(pair[1]) for pair in pairs if len(pair) == 2}
    missing = [key for key in _REQUIRED if not found.get(key)]
    if missing:
        raise BadRequest(f"hook {text[:80]!r} lacks {', '.join(missing)}")
    return Rpc(
        found["destination"],
        found["interface"],
        found["member"],
        found.get("objpath", "/"),
        found.get("vm", ""),
    )


def _unquoted(word: str) -> str:
    if len(word) >= 2 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1]
    return word


CallVm: TypeAlias = Callable[[Rpc, Sequence[str]], Awaitable[None]]
"""Carries out a hook that names a VM, on that VM's own bus."""


async def no_vm(hook: Rpc, _arguments: Sequence[str]) -> None:
    raise Unavailable(f"nobody here reaches the bus of VM {hook.vm}")


async def run_hooks(
    text: str, arguments: Sequence[str], caller: Caller, timeout_s: float, call_vm: CallVm = no_vm
) -> None:
    """Run every hook in `text`.  Raises what the first failing one raised, Unavailable after `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            for hook in parse_hooks(text):
                await _run_one(hook, arguments, caller, call_vm)
    except TimeoutError as late:
        raise Unavailable(f"hook {text[:80]!r} did not end within {timeout_s:.0f} s") from late


async def _run_one(hook: Program | Rpc, arguments: Sequence[str], caller: Caller, call_vm: CallVm) -> None:
    if isinstance(hook, Program):
        await _run_program(hook, arguments)
    elif hook.vm:
        await call_vm(hook, arguments)
    else:
        await caller.call(
            hook.destination, hook.path, hook.interface, hook.member, "s" * len(arguments), list(arguments)
        )


async def _run_program(hook: Program, arguments: Sequence[str]) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            hook.path,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise Refused(f"hook {hook.path} cannot be run: {error.strerror}") from error
    try:
        output, complaint = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
        await process.wait()
        raise
    _log_lines(logging.INFO, hook, output)
    _log_lines(logging.WARNING, hook, complaint)
    if process.returncode:
        raise Refused(f"hook {hook.path} failed with exit status {process.returncode}")


def _log_lines(level: int, hook: Program, output: bytes) -> None:
    for line in output[:OUTPUT_LIMIT].decode(errors="replace").splitlines():
        log.log(level, "hook %s: %s", hook.path, line)
