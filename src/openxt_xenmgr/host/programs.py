# SPDX-License-Identifier: GPL-2.0-or-later
"""Run programs of the host: found by PATH, always with an end, their complaints in the error."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping

from openxt_core.errors import IoError, NotSupported, OpenxtError, Unavailable

TIMEOUT_S = 10.0
ALSO_SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin"  # a daemon's PATH often lacks them
COMPLAINT_LIMIT = 300
TIDYING_S = 5.0


def found(name: str) -> str | None:
    """Path of a program; None where it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{ALSO_SEARCHED}")


def needed(name: str, package: str) -> str:
    """Path of a program.  Raises NotSupported naming the package that has it."""
    path = found(name)
    if path is None:
        raise NotSupported(f"{name} is not installed on this host: install {package}")
    return path


async def run(*command: str, timeout_s: float = TIMEOUT_S, more: Mapping[str, str] | None = None) -> str:
    """What a program prints; `more` is added to its environment.

    Raises IoError (223) when it cannot be run or fails, Unavailable when it takes too long.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(more or {})},
        )
    except OSError as error:
        raise IoError(f"IO error: {command[0]} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, complaint = await process.communicate()
    except TimeoutError as late:
        raise Unavailable(f"{command[0]} did not end within {timeout_s:g} s") from late
    finally:
        await _ended(process)
    if process.returncode:
        text = complaint.decode(errors="replace").strip()[:COMPLAINT_LIMIT] or "no reason given"
        raise IoError(f"IO error: {command[0]} failed with exit status {process.returncode}: {text}")
    return output.decode(errors="replace")


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Leave no process behind, whatever ended the wait; one that has something to take back may do so."""
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TIDYING_S):
                    await process.wait()
        if process.returncode is None:
            process.kill()
    await process.wait()


async def output_of(name: str, *arguments: str) -> str:
    """What a program prints; empty when it is missing, fails or takes too long."""
    path = found(name)
    if path is None:
        return ""
    try:
        return await run(path, *arguments)
    except OpenxtError:
        return ""
