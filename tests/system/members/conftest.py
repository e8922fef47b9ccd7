# SPDX-License-Identifier: GPL-2.0-or-later
"""One furnished host for all tests of a file; each leaves the database as it found it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from member_machine import furnish, programs
from xenmgr_house import Desk, desk


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def furnished(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """A host whose programs write down what they are asked in `log` of its `stand_ins` folder."""
    folder = tmp_path_factory.mktemp("programs")
    with programs(folder):
        async with desk("rpc-proxy") as it:
            furnish(it)
            it.stand_ins = folder
            await it.restart()  # what a host can do is read once
            yield it
