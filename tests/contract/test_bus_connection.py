# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls out, signals, names and the end of a connection, shown on a real dbus-daemon."""

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from bus_house import (
    NAME,
    VM,
    House,
    Vm,
    event_loop_policy,  # noqa: F401  (each test runs on both kinds of loop)
)

from openxt_bus.connection import Bus, Match, Signal
from openxt_bus.export import Face, ObjectTree
from openxt_core.errors import (
    InvalidArgs,
    RemoteError,
    Unavailable,
)
from private_bus import launch

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")

# Calls out


async def test_a_call_that_is_not_answered_in_time_names_what_did_not(house: House) -> None:
    with pytest.raises(Unavailable, match=r"org\.test\.House\.hang did not answer within 0\.05 s"):
        await house.client.call(NAME, "/vm/a", VM.name, "hang", timeout_s=0.05)


async def test_a_call_to_nobody_is_absent(house: House) -> None:
    with pytest.raises(RemoteError) as caught:
        await house.client.call("org.test.Nobody", "/", "a.b", "c")
    assert caught.value.is_absent


async def test_a_retried_call_reaches_a_service_that_comes_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openxt_bus.connection.RETRY_PAUSE_S", 0.05)
    await house.server.release_name(NAME)
    retried = asyncio.create_task(
        house.client.call_retrying(NAME, "/vm/a", VM.name, "echo", "s", ["late"], timeout_s=10)
    )
    await house.client.name_owner(NAME)  # sent after the first try, so answered after it failed
    await house.server.request_name(NAME)
    assert await retried == ["late"]


async def test_a_retried_call_gives_up_and_does_not_retry_other_errors(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openxt_bus.connection.RETRY_PAUSE_S", 0)
    with pytest.raises(RemoteError) as caught:
        await house.client.call_retrying("org.test.Nobody", "/", "a.b", "c")
    assert caught.value.is_absent
    with pytest.raises(RemoteError, match="nothing"):
        await house.client.call_retrying(NAME, "/vm/a", VM.name, "nothing")


async def test_a_call_that_cannot_be_sent_is_refused_here(house: House) -> None:
    with pytest.raises(InvalidArgs):
        await house.call("/vm/a", VM.name, "echo", "s", [5])
    with pytest.raises(InvalidArgs):
        house.client.emit("/", VM.name, "changed", "s", [5])
    await house.flush()


# Signals


async def test_only_wanted_signals_arrive_in_order(house: House) -> None:
    heard: list[Signal] = []
    await house.client.subscribe(Match(VM.name, "changed", path="/vm/a"), heard.append)
    for number in range(50):
        house.server.emit("/vm/a", VM.name, "changed", "si", ["x", number])
        house.server.emit("/vm/b", VM.name, "changed", "si", ["x", number])
    await house.flush()
    assert [signal.body[1] for signal in heard] == list(range(50))
    assert heard[0] == Signal(house.server.unique_name, "/vm/a", VM.name, "changed", ["x", 0])


async def test_a_failing_listener_stops_nobody_else(house: House) -> None:
    heard: list[Signal] = []

    def fail(signal: Signal) -> None:
        raise ValueError

    await house.client.subscribe(Match(VM.name), fail)
    await house.client.subscribe(Match(VM.name), heard.append)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 1])
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 2])
    await house.flush()
    assert len(heard) == 2


async def test_equal_subscriptions_share_a_rule_until_the_last_is_closed(house: House) -> None:
    first: list[Signal] = []
    second: list[Signal] = []
    match = Match(VM.name, "changed")
    one, two = await asyncio.gather(
        house.client.subscribe(match, first.append), house.client.subscribe(match, second.append)
    )
    await one.close()
    await one.close()
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 1])
    await house.flush()
    assert (len(first), len(second)) == (0, 1)
    await two.close()
    with pytest.raises(RemoteError, match="rule"):  # the bus has no such rule any more
        await house.client.call(
            "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "RemoveMatch", "s", [match.rule]
        )


async def test_a_well_known_sender_is_followed_from_owner_to_owner(house: House) -> None:
    heard: list[Signal] = []
    name = "org.test.Second"
    subscription = await house.client.subscribe(Match(VM.name, sender=name), heard.append)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["not the owner yet", 1])
    await house.server.request_name(name)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["owner", 2])
    await house.server.release_name(name)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["not the owner any more", 3])
    await house.flush()
    assert [signal.body[0] for signal in heard] == ["owner"]
    await subscription.close()
    house.server.emit("/vm/a", VM.name, "changed", "si", ["closed", 4])
    await house.flush()
    assert len(heard) == 1


async def test_a_sender_that_owned_its_name_before_is_heard_at_once(house: House) -> None:
    heard: list[Signal] = []
    await house.client.subscribe(Match(VM.name, sender=NAME), heard.append)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 1])
    await house.flush()
    assert len(heard) == 1


async def test_a_listener_may_close_its_own_subscription(house: House) -> None:
    closing: list[asyncio.Task[None]] = []
    subscription = await house.client.subscribe(
        Match(VM.name), lambda signal: closing.append(asyncio.create_task(subscription.close()))
    )
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 1])
    await house.flush()
    await asyncio.gather(*closing)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 1])
    await house.flush()
    assert len(closing) == 1


# Names


async def test_a_name_has_one_owner_and_nobody_queues(house: House) -> None:
    assert not await house.client.request_name(NAME)
    assert await house.server.request_name(NAME)
    assert await house.client.name_owner(NAME) == house.server.unique_name
    await house.server.release_name(NAME)
    assert await house.client.name_owner(NAME) is None


async def test_changes_of_owner_are_told(house: House) -> None:
    told: list[tuple[str, str]] = []
    await house.client.watch_name("org.test.Second", lambda old, new: told.append((old, new)))
    await house.server.request_name("org.test.Second")
    await house.server.release_name("org.test.Second")
    await house.flush()
    assert told == [("", house.server.unique_name), (house.server.unique_name, "")]


# The end


async def test_closing_ends_pending_calls_and_running_handlers(house: House) -> None:
    pending = asyncio.create_task(house.call("/vm/a", VM.name, "hang"))
    async with asyncio.timeout(10):
        await house.reached.wait()
    house.client.close()
    house.server.close()
    with pytest.raises(Unavailable):
        await pending
    await house.client.wait_closed()
    assert house.values["hang"] == "ended"


async def test_a_lost_bus_ends_every_pending_call_and_all_later_ones() -> None:
    with tempfile.TemporaryDirectory() as folder:
        address, process = launch(Path(folder))
        client, server = await Bus.connect(address), await Bus.connect(address)
        tree, reached = ObjectTree(), asyncio.Event()
        tree.route("/", Face(VM, lambda call: Vm(call, {}, reached)))
        server.serve(tree)
        subscription = await client.subscribe(Match(VM.name), lambda signal: None)
        calls = [asyncio.create_task(client.call(server.unique_name, "/", VM.name, "hang")) for _ in range(3)]
        async with asyncio.timeout(10):
            await reached.wait()
        process.kill()
        await asyncio.to_thread(process.communicate)
        async with asyncio.timeout(10):
            await client.wait_closed()
            await server.wait_closed()
        for call in [*calls, asyncio.create_task(client.name_owner("a.b"))]:
            with pytest.raises(Unavailable):
                await call
        client.emit("/", VM.name, "changed", "si", ["nobody hears", 1])
        await subscription.close()


async def test_the_address_comes_from_the_environment(
    bus_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "DBUS_SYSTEM_BUS_ADDRESS", bus_address)
    bus = await Bus.connect()
    assert bus.unique_name.startswith(":")
    bus.close()
