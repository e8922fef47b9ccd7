# SPDX-License-Identifier: GPL-2.0-or-later
"""Our client of XenStore, on the simulated one and on C xenstored 4.17, by socket and by device."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from xenstore_bench import ABSENT, Connect

from openxt_core.ids import DOM0, Domid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.batch import Batch
from openxt_xen.xenstore.channel import DEVICES, default_address
from openxt_xen.xenstore.client import XenStore, XenStoreError
from openxt_xen.xenstore.wire import Permission
from openxt_xenvm.pruning import prune


@pytest.fixture(params=["socket", pytest.param("device", marks=pytest.mark.xen)])
def way(request: pytest.FixtureRequest, address: str) -> str:
    """How our client reaches that XenStore: in dom0 also through the kernel."""
    if request.param == "socket":
        return address
    if address != default_address(os.environ):
        pytest.skip("the kernel's device leads to the real XenStore")
    return DEVICES[0]


def run(address: str, body: Callable[[XenStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = await XenStore.connect(address)
        try:
            async with asyncio.timeout(60):
                await body(store)
        finally:
            store.close()

    asyncio.run(main())


def test_client_reads_what_it_writes_and_none_for_missing(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        await store.write(f"{base}/a", "wörd")
        assert await store.read(f"{base}/a") == "wörd"
        assert await store.read(f"{base}/b") is None
        await store.mkdir(f"{base}/c")
        assert await store.list(base) == ["a", "c"]
        await store.rm(f"{base}/a")
        await store.rm(f"{base}/x/y")
        assert await store.list(f"{base}/c") == []
        assert await store.list(f"{base}/x") == []

    run(way, body)


def test_client_lists_a_directory_that_fits_no_packet(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        names = [f"{number:03d}{'n' * 100}" for number in range(60)]
        await asyncio.gather(*(store.mkdir(f"{base}/{name}") for name in names))
        assert await store.list(base) == names

    run(way, body)


def test_client_sets_and_reads_permissions(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        wanted = [Permission(DOM0, "r"), Permission(Domid(ABSENT), "b")]
        await store.set_permissions(base, wanted)
        assert await store.get_permissions(base) == wanted

    run(way, body)


def test_client_repeats_a_transaction_that_met_another(way: str, connect: Connect, base: str) -> None:
    other, attempts = connect(), []

    async def body(store: XenStore) -> None:
        async def increase(tx: int) -> int:
            number = int(await store.read(f"{base}/n", tx) or 0)
            if not attempts:
                other.write(f"{base}/n", b"10")
            attempts.append(number)
            await store.write(f"{base}/n", str(number + 1), tx)
            return number

        assert await store.transact(increase) == 10
        assert await store.read(f"{base}/n") == "11"

    run(way, body)
    assert attempts == [0, 10]


def test_client_gives_up_a_transaction_after_its_attempts(way: str, connect: Connect, base: str) -> None:
    other = connect()

    async def body(store: XenStore) -> None:
        async def always_late(tx: int) -> None:
            await store.read(f"{base}/n", tx)
            other.write(f"{base}/n", b"x")

        with pytest.raises(XenStoreError, match="EAGAIN"):
            await store.transact(always_late, attempts=3)

    run(way, body)


def test_client_aborts_a_transaction_whose_body_fails(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        async def fail(tx: int) -> None:
            await store.write(f"{base}/a", "1", tx)
            raise KeyError

        with pytest.raises(KeyError):
            await store.transact(fail)
        assert await store.read(f"{base}/a") is None

    run(way, body)


def test_client_carries_out_a_batch_in_order(way: str, base: str) -> None:
    perms = [Permission(DOM0, "r"), Permission(Domid(ABSENT), "b")]

    async def body(store: XenStore) -> None:
        await store.write(f"{base}/a/old", "1")
        batch = Batch()
        batch.rm(f"{base}/a")
        batch.rm(f"{base}/never-there")
        batch.mkdir(f"{base}/a")
        batch.set_permissions(f"{base}/a", perms)
        batch.write(f"{base}/a/new", "2")
        batch.set_permissions(f"{base}/never-there", perms, may_lack=True)
        await store.apply(batch)
        await store.apply(Batch())
        assert await store.list(f"{base}/a") == ["new"]
        assert await store.get_permissions(f"{base}/a") == perms
        assert await store.read(f"{base}/a/new") == "2"

    run(way, body)


def test_client_carries_out_nothing_of_a_batch_that_is_refused(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        batch = Batch()
        batch.write(f"{base}/a", "1")
        batch.set_permissions(f"{base}/never-there", [Permission(DOM0, "r")])
        batch.write(f"{base}/b", "1")
        with pytest.raises(XenStoreError, match="ENOENT"):
            await store.apply(batch)
        assert await store.list(base) == []

    run(way, body)


def test_client_hands_events_to_their_watches(way: str, base: str) -> None:
    async def body(store: XenStore) -> None:
        seen: asyncio.Queue[str] = asyncio.Queue()  # an event may come after the answer to the write
        watch = await store.watch(base, seen.put_nowait)
        await store.write(f"{base}/a/b", "1")
        async with asyncio.timeout(50):
            assert [await seen.get(), await seen.get()] == [base, f"{base}/a/b"]
        await watch.close()
        await store.write(f"{base}/a/c", "1")
        assert seen.empty()

    run(way, body)


def test_client_waits_until_a_value_is_right(way: str, connect: Connect, base: str) -> None:
    other = connect()

    async def body(store: XenStore) -> None:
        waiting = asyncio.create_task(store.wait_until(f"{base}/a", lambda value: value == "2", 50))
        await store.read(base)
        other.write(f"{base}/a", b"1")
        other.write(f"{base}/a", b"2")
        assert await waiting == "2"
        assert await store.wait_until(f"{base}/gone", lambda value: value is None, 50) is None
        with pytest.raises(TimeoutError):
            await store.wait_until(f"{base}/a", lambda value: value == "3", 0.01)

    run(way, body)


def test_client_speaks_of_domains(way: str) -> None:
    async def body(store: XenStore) -> None:
        assert await store.is_introduced(DOM0)
        assert not await store.is_introduced(Domid(ABSENT))
        assert await store.domain_path(Domid(ABSENT)) == paths.domain(Domid(ABSENT))
        for ask in (store.resume, store.release):
            with pytest.raises(XenStoreError, match="ENOENT"):
                await ask(Domid(ABSENT))

    run(way, body)


def test_many_who_remove_the_same_empty_folder_do_not_disturb_each_other(
    way: str, base: str, tmp_path: Path
) -> None:
    """Nor those who fill it meanwhile."""
    kept = f"{base}/backend"

    async def come_and_go(number: int) -> None:
        store = await XenStore.connect(way)
        for turn in range(40):
            own = f"{kept}/vif/{number}"
            await store.write(own, str(turn))
            assert await store.read(own) == str(turn)
            await store.rm(own)
            await prune(store, tmp_path / "lock", f"{kept}/vif", up_to=base)
        store.close()

    async def body(store: XenStore) -> None:
        await asyncio.gather(*map(come_and_go, range(4)))
        assert await store.list(base) == []

    run(way, body)
