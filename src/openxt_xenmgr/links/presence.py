# SPDX-License-Identifier: GPL-2.0-or-later
"""Call daemons that may not be installed at all: absent must cost nothing.

Who is on the bus is asked first, because a call to an absent name could start it by activation, and because
"not there" is then one question without a time-out.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from openxt_core.errors import OpenxtError
from openxt_core.spec import Caller, Value

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0


class NamedCaller(Caller, Protocol):
    """A caller that also knows who is there."""

    async def name_owner(self, name: str) -> str | None: ...


async def ask_if_there(
    bus: NamedCaller, destination: str, interface: str, member: str, signature: str = "", *body: Value
) -> Sequence[Value] | None:
    """The answer of a peer's root object; None when it is absent, late or refuses (logged)."""
    if await bus.name_owner(destination) is None:
        return None
    try:
        return await bus.call(destination, "/", interface, member, signature, body, timeout_s=TIMEOUT_S)
    except OpenxtError as error:
        log.warning("%s.%s: %s", destination, member, error)
        return None
