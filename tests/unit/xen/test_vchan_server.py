# SPDX-License-Identifier: GPL-2.0-or-later
"""dom0's listener for vchans against a simulated XenStore: what it takes, what hostile domains get."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from memory_ring import Half, MemoryRing
from openxt_core.errors import Unavailable
from openxt_core.ids import DOM0, Domid, Uuid
from openxt_core.places import Places
from openxt_sim.machine import Machine
from openxt_sim.server import Server as SimulatedHost
from openxt_xen.hypervisor import DomainSpec, ImageSpec, Kind
from openxt_xen.vchan.server import MAX_RING_BYTES, MAX_STREAMS_PER_DOMAIN, VchanServer
from openxt_xen.xenstore.client import XenStore

PORT = 5555
GUEST, OTHER = Domid(1), Domid(2)
TIMEOUT_S = 20


@dataclass
class World:
    """A listener, the guests' sides of the rings it has joined, and a way to write as any guest would."""

    store: XenStore
    host: SimulatedHost
    joined: dict[str, MemoryRing] = field(default_factory=dict)
    ring_bytes: int = 4096
    streams: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(
        default_factory=asyncio.Queue
    )

    def accept(self, domid: Domid, path: str) -> MemoryRing:
        assert path.startswith(f"/local/domain/{domid}/data/v4v/0/{PORT}/")
        one, other = Half(), Half()
        self.joined[path.rpartition("/")[2]] = MemoryRing(other, one, self.ring_bytes)
        return MemoryRing(one, other, self.ring_bytes)

    def on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams.put_nowait((reader, writer))

    async def offer(self, name: str, ring_ref: str = "8", port: str = "5", domid: Domid = GUEST) -> str:
        folder = f"/local/domain/{domid}/data/v4v/0/{PORT}/{name}"
        await self.store.write(f"{folder}/ring-ref", ring_ref)
        await self.store.write(f"{folder}/event-channel", port)
        return folder

    async def taken_or_refused(self, folder: str) -> None:
        await self.store.wait_until(folder, lambda value: value is None, TIMEOUT_S)

    async def stream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.streams.get()


def start_guest(host: SimulatedHost, folder: Path) -> Domid:
    kernel = folder / "kernel"
    kernel.write_text("a kernel")
    domid = host.host.machine.create_domain(
        DomainSpec(Uuid("6ba7b810-9dad-41d1-80b4-00c04fd430c8"), Kind.PVH, 1)
    )
    host.host.machine.set_max_memory(domid, 5120)
    port = host.host.machine.alloc_unbound_port(domid, DOM0)
    host.host.build(domid, ImageSpec(str(kernel), 4096, 1, port, port), pv=False)
    host.host.store.introduce(domid, port)
    return domid


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    host = SimulatedHost(tmp_path, Places(tmp_path), Machine())
    await host.start()
    follower = asyncio.create_task(host.follow_domains())
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "xenstored"))
    one = World(await XenStore.connect(), host)
    for expected in (GUEST, OTHER):
        await one.store.mkdir(f"/local/domain/{expected}/data")
        assert start_guest(host, tmp_path) == expected
    server = await VchanServer.start(PORT, one.on_connect, one.accept)
    yield one
    server.close()
    one.store.close()
    follower.cancel()
    await host.stop()


async def test_an_offer_is_joined_and_its_nodes_go(world: World) -> None:
    folder = await world.offer("a")
    reader, writer = await world.stream()
    await world.taken_or_refused(folder)
    assert writer.get_extra_info("domid") == GUEST
    world.joined["a"].write(memoryview(b"from the guest"))
    assert await reader.readexactly(14) == b"from the guest"
    writer.close()


async def test_an_offer_from_before_we_listened_is_joined_too(world: World) -> None:
    folder = f"/local/domain/{GUEST}/data/v4v/0/5556/a"
    for node in ("ring-ref", "event-channel"):
        await world.store.write(f"{folder}/{node}", "3")
    joined: list[str] = []

    def accept(_domid: Domid, path: str) -> MemoryRing:
        joined.append(path)
        return MemoryRing(Half(), Half(), 4096)

    server = await VchanServer.start(5556, world.on_connect, accept)
    await world.stream()
    assert joined == [folder]
    server.close()


@pytest.mark.parametrize(
    ("ring_ref", "port"), [("", "5"), ("8", "x"), ("-1", "5"), ("8 ", "5"), ("9" * 11, "1"), ("٣", "1")]
)
async def test_an_offer_that_makes_no_sense_is_refused_and_nothing_is_mapped(
    world: World, ring_ref: str, port: str
) -> None:
    await world.taken_or_refused(await world.offer("a", ring_ref, port))
    assert world.joined == {}


async def test_a_half_offer_waits_for_its_other_half(world: World) -> None:
    folder = f"/local/domain/{GUEST}/data/v4v/0/{PORT}/half"
    await world.store.write(f"{folder}/ring-ref", "8")
    await world.taken_or_refused(await world.offer("whole"))
    assert set(world.joined) == {"whole"}
    await world.store.write(f"{folder}/event-channel", "5")
    await world.taken_or_refused(folder)
    assert set(world.joined) == {"whole", "half"}


async def test_names_that_no_agent_gives_are_not_looked_at(world: World) -> None:
    await world.offer("_" * 3)
    await world.offer("x" * 8)
    await world.taken_or_refused(await world.offer("good"))
    assert set(world.joined) == {"good"}


async def test_a_domain_has_so_many_streams_and_another_one_still_gets_its_own(world: World) -> None:
    for number in range(MAX_STREAMS_PER_DOMAIN + 3):
        await world.taken_or_refused(await world.offer(f"n{number}"))
    assert len(world.joined) == MAX_STREAMS_PER_DOMAIN
    await world.taken_or_refused(await world.offer("other", domid=OTHER))
    assert "other" in world.joined
    _, writer = await world.stream()
    writer.close()
    await writer.wait_closed()
    await world.taken_or_refused(await world.offer("again"))
    assert "again" in world.joined


async def test_rings_larger_than_we_want_to_map_are_given_back(world: World) -> None:
    world.ring_bytes = 2 * MAX_RING_BYTES
    await world.taken_or_refused(await world.offer("big"))
    assert not world.joined["big"].is_open
    assert world.streams.empty()


async def test_what_cannot_be_joined_is_refused_and_said_aloud_once(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_domid: Domid, path: str) -> MemoryRing:
        raise Unavailable(f"no vchan at {path}")

    server = await VchanServer.start(5556, world.on_connect, fail)
    folder = f"/local/domain/{GUEST}/data/v4v/0/5556"
    for name in ("a", "b", "c"):
        for node in ("ring-ref", "event-channel"):
            await world.store.write(f"{folder}/{name}/{node}", "3")
        await world.taken_or_refused(f"{folder}/{name}")
    assert sum("no vchan at" in record.message for record in caplog.records) == 1
    server.close()


async def test_the_death_of_a_domain_ends_its_streams_and_no_others(world: World) -> None:
    await world.offer("mine")
    mine, _ = await world.stream()
    await world.offer("theirs", domid=OTHER)
    theirs, _ = await world.stream()
    world.host.host.destroy_domain(GUEST)
    async with asyncio.timeout(TIMEOUT_S):
        assert await mine.read() == b""
    assert not world.joined["mine"].is_open
    world.joined["theirs"].write(memoryview(b"still here"))
    assert await theirs.readexactly(10) == b"still here"


async def test_a_listener_finds_its_xenstore_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openxt_xen.vchan.server.RETRY_S", 0.01)
    await world.host.stop()
    await world.host.start()
    world.store = await XenStore.connect()
    await world.taken_or_refused(await world.offer("after"))
    assert "after" in world.joined
