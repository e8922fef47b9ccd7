# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon's life from start to exit status: real processes on a private bus."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from openxt_bus.connection import Bus

DAEMON = """
import asyncio, sys
from openxt_bus.daemon import Lifetime, run
from openxt_core.errors import NotSupported

async def main(lifetime: Lifetime) -> None:
    what = sys.argv[1]
    if what == "refuse":
        raise NotSupported("this host cannot")
    if what == "refuse-in-group":
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse())
    if what == "bug":
        raise KeyError("oops")
    if what == "starting":
        print("starting", flush=True)
        await asyncio.Event().wait()
    bus = await lifetime.connect()
    await lifetime.own(bus, "org.test.Daemon")
    lifetime.on_hangup(lambda: 1 / 0)
    lifetime.on_hangup(lambda: print("hung up", flush=True))
    lifetime.ready()
    print("ready", flush=True)
    await lifetime.until_stopped()
    print("tidied up", flush=True)

async def refuse() -> None:
    raise NotSupported("this host cannot")

sys.exit(run("testd", main))
"""


@dataclass
class Host:
    """Where the daemons of one test run."""

    address: str
    environ: dict[str, str] = field(default_factory=dict)
    running: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self, what: str = "serve", **environ: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", DAEMON, what,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address, **environ},
        )  # fmt: skip
        self.running.append(process)
        return process


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()


async def end(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """Exit status, the rest of stdout, stderr."""
    out, err = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, out.decode(), err.decode()


@pytest_asyncio.fixture
async def host(bus_address: str) -> AsyncIterator[Host]:
    host = Host(bus_address)
    yield host
    for process in host.running:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_daemon_tidies_up_and_exits_with_0(host: Host, number: signal.Signals) -> None:
    daemon = await host.start()
    assert await line(daemon) == "ready"
    daemon.send_signal(number)
    assert await end(daemon) == (0, "tidied up\n", "")


async def test_a_daemon_can_be_stopped_while_it_starts(host: Host) -> None:
    daemon = await host.start("starting")
    assert await line(daemon) == "starting"
    daemon.terminate()
    assert await end(daemon) == (0, "", "")


async def test_a_second_instance_exits_with_1_and_names_the_bus_name(host: Host) -> None:
    assert await line(await host.start()) == "ready"
    status, out, err = await end(await host.start())
    assert (status, out) == (1, "")
    assert "the bus name org.test.Daemon is taken" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("what", ["refuse", "refuse-in-group"])
async def test_an_expected_error_is_told_in_one_line(host: Host, what: str) -> None:
    status, _, err = await end(await host.start(what))
    assert status == 1
    assert "this host cannot" in err
    assert err.count("\n") == 1


async def test_a_bug_is_told_with_its_traceback(host: Host) -> None:
    status, _, err = await end(await host.start("bug", OPENXT_LOG="stderr"))
    assert status == 1
    assert "Traceback" in err
    assert "oops" in err


async def test_without_a_bus_the_address_is_named(host: Host) -> None:
    daemon = await host.start(DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nowhere/bus")
    status, _, err = await end(daemon)
    assert status == 1
    assert "/nowhere/bus" in err


async def test_a_hangup_reaches_every_callback_and_ends_nothing(host: Host) -> None:
    daemon = await host.start()
    assert await line(daemon) == "ready"
    daemon.send_signal(signal.SIGHUP)
    assert await line(daemon) == "hung up"
    daemon.terminate()
    status, _, err = await end(daemon)
    assert status == 0
    assert "ZeroDivisionError" in err


async def test_a_lost_bus_is_fatal(host: Host) -> None:
    daemon = await host.start()
    assert await line(daemon) == "ready"
    bus = await Bus.connect(host.address)
    (pid,) = await bus.call(
        "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetConnectionUnixProcessID", "s",
        ["org.freedesktop.DBus"],
    )  # fmt: skip
    os.kill(pid, signal.SIGKILL)
    status, _, err = await end(daemon)
    assert status == 1
    assert "message bus is lost" in err
    bus.close()


@pytest.mark.parametrize("is_abstract", [False, True])
async def test_the_service_manager_is_told_of_readiness_and_stopping(
    host: Host, tmp_path: Path, is_abstract: bool
) -> None:
    address = f"@openxt-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0"))
        manager.settimeout(20)
        daemon = await host.start(NOTIFY_SOCKET=address)
        assert await asyncio.to_thread(manager.recv, 100) == b"READY=1"
        daemon.terminate()
        assert await asyncio.to_thread(manager.recv, 100) == b"STOPPING=1"
        assert (await end(daemon))[0] == 0
