# SPDX-License-Identifier: GPL-2.0-or-later
"""How two domains meet for a stream, in XenStore.  Pure: names and values in, verdicts out.

A domain that wants a stream to port P of domain D *offers* a vchan: it shares rings with D and names them in
a folder of its own, `data/v4v/D/P/NAME`, by the two nodes `ring-ref` and `event-channel`.  D joins the rings
and then removes the folder; a folder removed while nobody has joined is a refusal.  Whose folder it is says
who offers, and the hypervisor lets D map the pages of that domain only: nothing that is written says who.
"""

import re
from collections.abc import Sequence
from enum import Enum

NODES = ("ring-ref", "event-channel")
_NAME = re.compile(r"[0-9A-Za-z-]{1,7}\Z")  # libxenvchan has 63 bytes for the whole path of `event-channel`
_NUMBER = re.compile(r"[0-9]{1,10}\Z")

MAX_LOOKED_AT = 64  # a domain may write a thousand nodes; what is refused makes room for the next


class Verdict(Enum):
    WHOLE = "whole"
    UNFINISHED = "unfinished"  # the rest may come
    MALFORMED = "malformed"


def sound_names(guest_names: Sequence[str]) -> list[str]:
    """Those of a folder's names that can be offers, and no more than we look at in one go."""
    return [name for name in guest_names if _NAME.match(name)][:MAX_LOOKED_AT]


def judge(guest_values: Sequence[str | None]) -> Verdict:
    """By the values of NODES."""
    written = [value for value in guest_values if value is not None]
    if not all(_NUMBER.match(value) and int(value) < 2**32 for value in written):
        return Verdict.MALFORMED
    return Verdict.WHOLE if len(written) == len(NODES) else Verdict.UNFINISHED
