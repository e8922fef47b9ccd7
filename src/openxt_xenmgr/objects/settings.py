# SPDX-License-Identifier: GPL-2.0-or-later
"""Get, Set and GetAll of the properties of `/` and `/host`: rows whose keys are absolute."""

import asyncio
import logging
from collections.abc import Mapping
from inspect import isawaitable
from typing import Any

from openxt_core.errors import OpenxtError
from openxt_core.spec import Interface, Value
from openxt_xenmgr.properties.table import (
    Effect,
    Joined,
    Live,
    Row,
    Stored,
    changes_for,
    needed_row,
    value_in,
)
from openxt_xenmgr.vm.tree import Tree, with_leaf
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

Rows = Mapping[str, Row[World]]


async def get_setting(world: World, rows: Rows, interface: Interface, name: str) -> Value:
    return await _read(world, needed_row(rows, interface, name, writing=False))


async def _read(world: World, row: Row[World]) -> Value:
    if isinstance(row, Live):
        value = row.read(world)
        return await value if isawaitable(value) else value
    return value_in(row, await _leaf(world, row))


async def _leaf(world: World, row: Stored | Joined) -> Tree:
    """A tree with nothing but the row's leaf."""
    leaf: Any = await world.db.dump(f"/{row.key}")
    return {} if leaf is None else with_leaf({}, row.key, leaf)


async def set_setting(
    world: World, path: str, rows: Rows, interface: Interface, name: str, value: Value
) -> None:
    row = needed_row(rows, interface, name, writing=True)
    if isinstance(row, Live):
        assert row.write is not None
        done = row.write(world, value)
        if isawaitable(done):
            await done
    else:
        for change in changes_for(row, value):
            assert change.value is None or isinstance(change.value, str)
            if change.value is None:
                await world.db.rm(f"/{change.key}")
            else:
                await world.db.write(f"/{change.key}", change.value)
    if row_effect(row) is Effect.CONFIG:
        world.announcer.config_changed()
    world.announcer.properties(path, interface, {name: await _read(world, row)})


def row_effect(row: Row[World]) -> Effect | None:
    return None if isinstance(row, Live) else row.effect


async def all_settings(world: World, rows: Rows) -> dict[str, Value]:
    """All that can be read; a failing one is logged and left out."""
    results = await asyncio.gather(*(_read(world, row) for row in rows.values()), return_exceptions=True)
    values: dict[str, Value] = {}
    for name, result in zip(rows, results, strict=True):
        if isinstance(result, OpenxtError):
            log.warning("%s cannot be read: %s", name, result)
        elif isinstance(result, BaseException):
            raise result
        else:
            values[name] = result
    return values
