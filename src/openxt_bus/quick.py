# SPDX-License-Identifier: GPL-2.0-or-later
"""What is run for nearly each message: in C where `make native` has built that, else in Python."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openxt_bus.favourites import Favourites
    from openxt_bus.plans import Plan, answer_all
    from openxt_bus.receiver import Receiver
else:
    try:
        from _openxt_quick import Favourites, Plan, Receiver, answer_all
    except ImportError:
        from openxt_bus.favourites import Favourites
        from openxt_bus.plans import Plan, answer_all
        from openxt_bus.receiver import Receiver

__all__ = ["Favourites", "Plan", "Receiver", "answer_all"]
