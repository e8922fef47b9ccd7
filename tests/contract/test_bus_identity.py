# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is calling, on a real stock bus with stand-ins for rpc-proxies in processes of their own.

The stand-in is the identity service that a real rpc-proxy has, answering what the test tells it.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from openxt_bus.connection import Bus
from openxt_bus.identity import Caller, Identity
from openxt_core.errors import AccessDenied, RemoteError, Unavailable
from openxt_core.ids import DOM0, DOM0_UUID, Domid, Uuid

UUID = Uuid("00000000-0000-0000-0000-000000000007")

PROXY = """
import asyncio, os, sys
from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_bus.identity import IDENTITY_INTERFACE, PROXY_PREFIX
from openxt_core.spec import Arg, Interface, Method, Service

SPEC = Interface(IDENTITY_INTERFACE, methods=(
    Method("get_connection_domid", (Arg("name", "s"),), (Arg("domid", "i"),)),))
domid, name = int(sys.argv[1]), sys.argv[2]

class Face_(Service):
    SPEC = SPEC
    def get_connection_domid(self, name):
        assert name == guest.unique_name
        return domid

async def main():
    global guest
    control, guest = await Bus.connect(), await Bus.connect()
    tree = ObjectTree()
    tree.route("/", Face(SPEC, Face_))
    control.serve(tree)
    assert not name or await control.request_name(name.replace("PID", str(os.getpid())))
    print(control.unique_name, guest.unique_name, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await control.release_name(name.replace("PID", str(os.getpid())))
    print("released", flush=True)
    await guest.wait_closed()

asyncio.run(main())
"""
PROXY_NAME = "com.citrix.xenclient.rpc_proxy.pPID"


@dataclass
class Proxy:
    """A process with a connection of its own and one of a guest's."""

    process: asyncio.subprocess.Process
    control: str
    guest: str

    async def release_name(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        assert await self.process.stdout.readline() == b"released\n"


@dataclass
class Bench:
    """A daemon that asks who calls."""

    address: str
    bus: Bus
    uuids: dict[int, Uuid] = field(default_factory=lambda: {7: UUID})
    asked: list[int] = field(default_factory=list)
    proxies: list[Proxy] = field(default_factory=list)

    def identity(self) -> Identity:
        return Identity(self.bus, self.uuid_of)

    async def uuid_of(self, domid: Domid) -> Uuid | None:
        self.asked.append(domid)
        await asyncio.sleep(0)
        return self.uuids.get(domid)

    async def proxy(self, domid: int, name: str = PROXY_NAME) -> Proxy:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROXY, str(domid), name,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address},
        )  # fmt: skip
        assert process.stdout is not None
        names = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().split()
        self.proxies.append(Proxy(process, *names))
        return self.proxies[-1]


@pytest_asyncio.fixture
async def bench(bus_address: str) -> AsyncIterator[Bench]:
    bench = Bench(bus_address, await Bus.connect(bus_address))
    yield bench
    for proxy in bench.proxies:
        if proxy.process.returncode is None:
            proxy.process.kill()
        await proxy.process.communicate()
    bench.bus.close()


async def test_an_ordinary_connection_is_dom0(bench: Bench) -> None:
    caller = await bench.identity().of(bench.bus.unique_name)
    assert caller == Caller(DOM0, DOM0_UUID)
    assert caller.is_dom0


async def test_a_connection_of_an_rpc_proxy_is_the_guest_it_names(bench: Bench) -> None:
    proxy = await bench.proxy(7)
    caller = await bench.identity().of(proxy.guest)
    assert caller == Caller(Domid(7), UUID)
    assert not caller.is_dom0


async def test_the_proxy_itself_is_dom0(bench: Bench) -> None:
    proxy = await bench.proxy(7)
    assert (await bench.identity().of(proxy.control)).is_dom0


async def test_a_guest_without_a_uuid_is_refused_and_asked_for_again(bench: Bench) -> None:
    proxy, identity = await bench.proxy(7), bench.identity()
    bench.uuids.clear()
    with pytest.raises(AccessDenied):
        await identity.of(proxy.guest)
    bench.uuids[7] = UUID
    assert (await identity.of(proxy.guest)).uuid == UUID


@pytest.mark.parametrize("error", [Unavailable("no xenstore"), OSError("gone"), TimeoutError()])
async def test_a_guest_whose_uuid_cannot_be_found_out_is_refused(bench: Bench, error: Exception) -> None:
    async def fail(domid: Domid) -> Uuid | None:
        raise error

    proxy = await bench.proxy(7)
    with pytest.raises(AccessDenied):
        await Identity(bench.bus, fail).of(proxy.guest)


async def test_a_guest_that_its_proxy_cannot_name_is_refused(bench: Bench) -> None:
    proxy = await bench.proxy(-1)
    with pytest.raises(AccessDenied):
        await bench.identity().of(proxy.guest)


async def test_another_process_that_took_a_proxys_name_is_not_believed(bench: Bench) -> None:
    liar = await bench.proxy(0, f"com.citrix.xenclient.rpc_proxy.p{os.getpid()}")
    identity = bench.identity()
    with pytest.raises(AccessDenied):
        await identity.of(bench.bus.unique_name)
    assert (await identity.of(liar.guest)).is_dom0


async def test_an_unknown_name_is_refused(bench: Bench) -> None:
    with pytest.raises(AccessDenied):
        await bench.identity().of(":1.99999")


async def test_a_guest_outliving_its_proxys_name_is_refused(bench: Bench) -> None:
    identity = bench.identity()
    await identity.of(bench.bus.unique_name)  # from now on it follows who comes and goes
    proxy = await bench.proxy(7)
    await proxy.release_name()
    with pytest.raises(AccessDenied):
        await identity.of(proxy.guest)


async def test_concurrent_questions_about_one_sender_are_one(bench: Bench) -> None:
    proxy, identity = await bench.proxy(7), bench.identity()
    callers = await asyncio.gather(*(identity.of(proxy.guest) for _ in range(20)))
    assert set(callers) == {Caller(Domid(7), UUID)}
    assert bench.asked == [7]


async def test_one_impatient_asker_does_not_spoil_it_for_the_others(bench: Bench) -> None:
    proxy, identity = await bench.proxy(7), bench.identity()
    first, second = (asyncio.create_task(identity.of(proxy.guest)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).uuid == UUID


async def test_a_caller_is_remembered_until_its_connection_is_gone(bench: Bench) -> None:
    proxy, identity = await bench.proxy(7), bench.identity()
    assert identity.cached(proxy.guest) is None
    await identity.of(proxy.guest)
    await identity.of(proxy.guest)
    assert bench.asked == [7]
    assert identity.cached(proxy.guest) == Caller(Domid(7), UUID)
    gone = asyncio.Event()
    await bench.bus.watch_name(proxy.guest, lambda old, new: gone.set())
    proxy.process.kill()
    await asyncio.wait_for(gone.wait(), 10)
    assert identity.cached(proxy.guest) is None


async def test_only_so_many_callers_are_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openxt_bus.identity.MAX_REMEMBERED", 2)
    identity = bench.identity()
    buses = [await Bus.connect(bench.address) for _ in range(3)]
    for bus in buses:
        await identity.of(bus.unique_name)
    assert [identity.cached(bus.unique_name) is not None for bus in buses] == [False, True, True]
    for bus in buses:
        bus.close()


async def test_a_bus_that_knows_domids_is_believed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The patched bus of the original answers GetConnectionDOMID; a stock one does not know it."""
    ask = bench.bus.call

    async def patched(destination: str, path: str, interface: str, member: str, *rest: object) -> object:
        if member == "GetConnectionDOMID":
            return [7]
        return await ask(destination, path, interface, member, *rest)

    monkeypatch.setattr(bench.bus, "call", patched)
    assert await bench.identity().of(bench.bus.unique_name) == Caller(Domid(7), UUID)


async def test_a_bus_that_knows_domids_but_not_this_one_refuses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def patched(*call: object) -> object:
        raise RemoteError("org.freedesktop.DBus.Error.Failed", "not a domain")

    identity = bench.identity()
    await identity.of(bench.bus.unique_name)
    fresh = bench.identity()
    monkeypatch.setattr(bench.bus, "call", patched)
    with pytest.raises(AccessDenied):
        await fresh.of(":1.1")
