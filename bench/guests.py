# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests whose dom-stores are full, and that go on writing, for dbd's bench.

Usage: guests.py COUNT GO-FILE     (prints `full` if all are; goes on when the file is there)

To dbd these are domains: this process says so on the interface by which rpc-proxy does.  Each keeps
a call or two under way, with a pause after three: a write that is refused, a read, a write in place.
"""

import asyncio
import itertools
import os
import sys
from pathlib import Path

from openxt_api.db import DbClient
from openxt_api.rpc_proxy_identity import RPC_PROXY_IDENTITY, RpcProxyIdentity
from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_core.errors import RemoteError
from openxt_core.ids import DBD_NAME
from openxt_xen.xenstore.client import XenStore

VALUE = "x" * 1000
PAUSE_S = 1.0  # 300 calls a second of all; faster ones are a matter of rpc-proxy and the bus


def guest_uuid(domid: int) -> str:
    return f"00000000-0000-0000-0000-{domid:012}"


class Proxy(RpcProxyIdentity):
    """Knows the connections that this process has made."""

    domids: dict[str, int]

    def get_connection_domid(self, name: str) -> int:
        return self.domids.get(name, 0)


async def serve_identity(domids: dict[str, int]) -> None:
    bus = await Bus.connect()
    Proxy.domids = domids
    tree = ObjectTree()
    tree.route("/", Face(RPC_PROXY_IDENTITY, Proxy))
    bus.serve(tree)
    assert await bus.request_name(f"com.citrix.xenclient.rpc_proxy.p{os.getpid()}")


async def is_full(guest: DbClient) -> bool:
    try:
        await guest.write("/more", VALUE)
    except RemoteError as error:
        return error.name.endswith(".LimitsExceeded")
    return False


async def go_on(guest: DbClient) -> None:
    for number in itertools.count():
        await asyncio.gather(
            guest.write(f"/more{number}", VALUE), guest.read(f"/k{number % 500}"), return_exceptions=True
        )
        await guest.write(f"/k{number % 500}", VALUE.replace("x", "y" if number % 2 else "z", 1))
        await asyncio.sleep(PAUSE_S)


async def main(count: int, go: Path) -> None:
    domids: dict[str, int] = {}
    await serve_identity(domids)
    store = await XenStore.connect()
    guests = []
    for domid in range(1, count + 1):
        uuid = guest_uuid(domid)
        await store.write(f"/local/domain/{domid}/vm", f"/vm/{uuid}")
        await store.write(f"/vm/{uuid}/uuid", uuid)
        bus = await Bus.connect()
        domids[bus.unique_name] = domid
        guests.append(DbClient(bus, DBD_NAME, "/"))
    assert all(await asyncio.gather(*map(is_full, guests)))
    print("full", flush=True)
    while not go.exists():
        await asyncio.sleep(0.02)
    await asyncio.gather(*map(go_on, guests))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
