# SPDX-License-Identifier: GPL-2.0-or-later
"""Have a VM's monitor started: by the zygote, which forks a warm one, or else by running `xenvm` itself.

One request per connection: a line of JSON `{"config": path, "uuid": uuid}`, answered by `{"pid": n}` once the
monitor's bus name is owned, or by `{"error": text, "exit_code": n}`.
"""

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from typing import Any

from openxt_core.errors import Unavailable
from openxt_core.ids import Uuid

log = logging.getLogger(__name__)

PROGRAM = "xenvm"
CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 30.0
# xenvm's exit code when another monitor of this VM is there already.
ALREADY_RUNNING = 1


async def spawn_monitor(socket: Path, config: Path, uuid: Uuid) -> None:
    """Returns when the monitor has been started.  Raises Unavailable with the reason."""
    answer = await _ask_zygote(socket, config, uuid)
    if answer is None:
        await _run_program(config, uuid)
    elif "pid" not in answer and answer.get("exit_code") != ALREADY_RUNNING:
        reason = str(answer.get("error", "no reason given"))
        raise Unavailable(f"the monitor of VM {uuid} could not be started: {reason}")


async def _ask_zygote(socket: Path, config: Path, uuid: Uuid) -> dict[str, Any] | None:
    """The zygote's answer; None when there is no zygote, or it ended without one."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
    except (OSError, TimeoutError):
        return None
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            writer.write(json.dumps({"config": str(config), "uuid": uuid}).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
        answer = json.loads(line) if line else None
        return answer if isinstance(answer, dict) else None
    except (OSError, TimeoutError, ValueError) as error:
        log.warning("the xenvm zygote did not answer (%r): running %s itself", error, PROGRAM)
        return None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _run_program(config: Path, uuid: Uuid) -> None:
    """Run `xenvm`, which leaves a daemon behind and ends."""
    try:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            "--config",
            str(config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise Unavailable(f"{PROGRAM} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            status = await process.wait()
    except TimeoutError as late:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise Unavailable(f"{PROGRAM} did not start within {ANSWER_TIMEOUT_S:g} s") from late
    if status not in (0, ALREADY_RUNNING):
        complaint = await _first_line(process)
        raise Unavailable(f"the monitor of VM {uuid} ended with exit status {status}: {complaint}")


async def _first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            return (await process.stderr.readline()).decode(errors="replace").strip()
    return ""
