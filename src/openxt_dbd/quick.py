# SPDX-License-Identifier: GPL-2.0-or-later
"""What is run for nearly each write: in C where `make native` has built that."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openxt_dbd.path import Path
    from openxt_dbd.recent import Event
    from openxt_dbd.tail import Tail
    from openxt_dbd.tree import Nodes, Owner

    def rewrite(
        spots: Mapping[str, tuple[Nodes, str, Path]],
        text: str,
        value: str,
        owner: Owner,
        tail: Tail | None,
        number: int,
        writer: str,
        time_s: float,
    ) -> Event | None:
        """Carry out the usual write: one short text for another, in a node of that owner and in the journal.

        None: nothing was done, the store has to find out what there is to do.  Without C that is always so.
        """

else:
    try:
        from _openxt_quick import Tail, rewrite
    except ImportError:
        from openxt_dbd.tail import Tail

        def rewrite(*_):
            return None


__all__ = ["Tail", "rewrite"]
