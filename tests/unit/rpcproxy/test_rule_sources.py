# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rules are in force: when they are read, read again, and what an unreadable one means."""

from collections.abc import Callable
from pathlib import Path

import pytest

from openxt_core.errors import BadRequest, RemoteError, Unavailable
from openxt_core.ids import Uuid, parse_uuid
from openxt_rpcproxy.rules.grammar import RuleError
from openxt_rpcproxy.rules.sources import MAX_RETRY_S, MAX_RUNTIME_RULES, NOTHING, RuleSources

UUID = parse_uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
OTHER = parse_uuid("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


FILE = ("deny all", "deny out-any", "allow out-error")


class World:
    """A rules file, a database that can be away, and a clock that is turned by hand."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rules"
        self.path.write_text("\n".join(FILE))
        self.stored: dict[Uuid, list[str]] = {UUID: ["allow destination A"]}
        self.error: Exception | None = None
        self.reads = 0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.sources = RuleSources(
            self.path, self._read, lambda delay, callback: self.due.append((delay, callback))
        )

    def _later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.due.append((delay_s, callback))

    async def _read(self, uuid: Uuid) -> list[str]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.stored.get(uuid, [])

    async def texts(self, uuid: Uuid | None = UUID) -> list[str]:
        return [rule.text for rule in await self.sources.rules_for(uuid)]

    def turn(self) -> float:
        delay, callback = self.due.pop(0)
        callback()
        return delay


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_vms_rules_follow_the_files_and_name_their_vm(world: World) -> None:
    rules = await world.sources.rules_for(UUID)
    assert [rule.text for rule in rules] == [*FILE, "allow destination A"]
    assert [rule.dom_uuid for rule in rules] == [None, None, None, UUID]
    assert await world.texts(None) == [*FILE]


@pytest.mark.parametrize(
    "error",
    [Unavailable("dbd does not answer"), RemoteError("org.freedesktop.DBus.Error.ServiceUnknown", "gone")],
)
async def test_a_vm_is_silent_while_its_rules_cannot_be_read_and_speaks_when_they_can(
    world: World, error: Exception
) -> None:
    world.error = error
    assert await world.texts() == [*FILE, *(rule.text for rule in NOTHING)]
    revision, world.error = world.sources.epoch.number, None
    assert world.turn() == 1
    assert world.sources.epoch.number > revision
    assert await world.texts() == [*FILE, "allow destination A"]
    assert world.due == []


async def test_a_database_that_stays_away_is_asked_less_and_less_often(world: World) -> None:
    world.error = Unavailable("away")
    delays = []
    for _ in range(8):
        await world.texts()
        delays.append(world.turn())
    assert delays == [1, 2, 4, 8, 16, MAX_RETRY_S, MAX_RETRY_S, MAX_RETRY_S]


async def test_a_database_that_comes_back_is_asked_at_once_and_by_nobody_twice(world: World) -> None:
    world.error = Unavailable("away")
    await world.texts()
    world.error = None
    world.sources.database_is_back()
    assert await world.texts() == [*FILE, "allow destination A"]
    revision = world.sources.epoch.number
    world.turn()
    assert world.sources.epoch.number == revision


async def test_a_malformed_rule_silences_its_vm_until_it_is_mended(world: World) -> None:
    world.stored[UUID] = ["allow everything please"]
    assert (await world.sources.rules_for(UUID))[3:] == NOTHING
    assert world.due == []
    assert await world.texts(OTHER) == [*FILE]
    world.stored[UUID] = ["allow all"]
    world.sources.forget_vm(UUID)
    assert await world.texts() == [*FILE, "allow all"]


async def test_an_unreadable_file_silences_everybody_until_a_reload(world: World) -> None:
    world.path.write_text("allow\xff all")
    world.stored.clear()
    assert (await world.sources.rules_for(UUID))[1:] == NOTHING
    world.path.write_text("allow all")
    assert (await world.sources.rules_for(UUID))[1:] == NOTHING
    world.sources.reload()
    assert await world.texts() == ["allow out-any", "allow all"]


async def test_rules_are_read_once_until_they_may_have_changed(world: World) -> None:
    for _ in range(3):
        await world.texts()
    assert world.reads == 1
    for forget in (world.sources.reload, world.sources.forget_vms, lambda: world.sources.forget_vm(UUID)):
        forget()
        await world.texts()
    assert world.reads == 4


async def test_rules_added_for_one_vm_end_when_it_stops(world: World) -> None:
    world.sources.add(f"allow dom-uuid {UUID} destination B")
    world.sources.add(f"allow dom-uuid {OTHER} destination C")
    world.sources.add("allow destination D")
    world.sources.vm_stopped(UUID)
    assert (await world.texts())[4:] == [f"allow dom-uuid {OTHER} destination C", "allow destination D"]


async def test_only_so_many_rules_are_added_and_only_added_ones_deleted(world: World) -> None:
    with pytest.raises(BadRequest, match="no rule added"):
        world.sources.delete("deny all")
    for _ in range(MAX_RUNTIME_RULES):
        world.sources.add("allow all")
    with pytest.raises(RuleError, match="more than"):
        world.sources.add("allow all")
    world.sources.delete("allow  all")
    assert (await world.texts(None)) == [*FILE]
