# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM's hooks, with the time that they have on this host."""

from openxt_xenmgr.vm.hooks import run_hooks
from openxt_xenmgr.vm.tree import parse_int
from openxt_xenmgr.world import World

DEADLINE_KEY = "/xenmgr/hook-deadline"  # seconds
HARD_DEADLINE_S = 300
SOFT_DEADLINE_S = 30


async def run_hard(world: World, text: str, *arguments: str) -> None:
    """Run hooks that an operation waits for; what they raise ends it."""
    await _run(world, text, arguments, HARD_DEADLINE_S)


async def run_soft(world: World, text: str, *arguments: str) -> None:
    """Run hooks that are only told of something."""
    await _run(world, text, arguments, SOFT_DEADLINE_S)


async def _run(world: World, text: str, arguments: tuple[str, ...], usual_s: int) -> None:
    deadline_s = parse_int(await world.db.read(DEADLINE_KEY)) or usual_s
    await run_hooks(text, arguments, world.bus, deadline_s, world.guest_buses.call)
