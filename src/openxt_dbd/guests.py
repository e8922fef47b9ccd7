# SPDX-License-Identifier: GPL-2.0-or-later
"""The uuid of a domain, from XenStore.  Connects when the first guest calls: dom0 needs no XenStore."""

from typing import TYPE_CHECKING

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid, Uuid

if TYPE_CHECKING:
    from openxt_xen.xenstore.client import XenStore


class GuestUuids:
    """A lost connection is made anew by the next question."""

    def __init__(self) -> None:
        self._store: XenStore | None = None

    async def of(self, domid: Domid) -> Uuid | None:
        """None when XenStore knows no such domain.  Raises Unavailable."""
        from openxt_xen.domains import uuid_of

        return await uuid_of(await self._connected(), domid)

    async def _connected(self) -> "XenStore":
        if self._store is None:
            from openxt_xen.xenstore.client import XenStore

            try:
                self._store = await XenStore.connect()
            except OSError as error:
                raise Unavailable(f"XenStore does not answer: {error}") from error
            self._store.closed = self._forget
        return self._store

    def _forget(self) -> None:
        self._store = None

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
