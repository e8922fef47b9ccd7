# SPDX-License-Identifier: GPL-2.0-or-later
"""What a WebSocket costs with the usual library: an echo server on its asyncio API.

Usage: echo_pages.py SOCKET
"""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, unix_serve


async def echo(connection: ServerConnection) -> None:
    async for text in connection:
        await connection.send(text)


async def main() -> None:
    async with unix_serve(echo, sys.argv[1], compression=None) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
