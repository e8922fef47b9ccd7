# SPDX-License-Identifier: GPL-2.0-or-later
"""What follows from one message.  Values only."""

from dataclasses import dataclass

from openxt_rpcproxy.express import Ticket


@dataclass(frozen=True, slots=True)
class Passed:
    """Messages that follow from one; each may be empty."""

    on: bytes = b""  # to the other side
    back: bytes = b""  # to the side it came from
    ticket: Ticket | None = None  # the next one like it needs no look
