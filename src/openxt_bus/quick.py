# SPDX-License-Identifier: GPL-2.0-or-later
"""What is run for nearly each message: in C where `make native` has built that, else in Python."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openxt_bus.plans import Plan, answer_all, receive
else:
    try:
        from _openxt_quick import Plan, answer_all, receive
    except ImportError:
        from openxt_bus.plans import Plan, answer_all, receive

__all__ = ["Plan", "answer_all", "receive"]
