# SPDX-License-Identifier: GPL-2.0-or-later
"""The tasks on a UNIX socket, as JSON-RPC 2.0: one request per connection, off unless asked for.

Request: a big-endian u32 length, then that many bytes of JSON.  Reply: bare JSON until the end of the
stream.  Error code -32602 for every failed task is the original's.
"""

import asyncio
import json
import logging
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openxt_core.errors import OpenxtError, Unavailable, UnknownMethod
from openxt_core.ids import Uuid
from openxt_core.places import Places
from openxt_xenvm import tasks
from openxt_xenvm.errors import TaskRefused, on_the_wire
from openxt_xenvm.monitor import Monitor

log = logging.getLogger(__name__)

MAX_REQUEST = 64 * 1024
REQUEST_TIMEOUT_S = 10.0
INVALID_PARAMS = -32602
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Request:
    id: Any
    task: str
    params: Mapping[str, str]


def parse_request(body: bytes) -> Request:
    """Raises ValueError with the reason."""
    found = _read(body)
    if not isinstance(found, dict) or not isinstance(found.get("method"), str):
        raise ValueError("not a request object with a method")
    params = found.get("params")
    if params == []:
        params = {}
    if not isinstance(params, dict) or not all(isinstance(value, str) for value in params.values()):
        raise ValueError("params must be an object of strings")
    return Request(found.get("id", 0), found["method"], params)


def _read(body: bytes) -> Any:
    """Raises ValueError, also for half surrogates, which nobody else can carry."""
    try:
        found = json.loads(body)
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return found


def socket_path(places: Places, environ: Mapping[str, str], uuid: Uuid) -> Path:
    """Where a monitor listens and xenvm-cmd looks."""
    folder = environ.get("XENVM_SOCKET_DIR")
    return (Path(folder) if folder else places.run / "xenvm") / f"vm-{uuid}"


def frame(task: str, params: Mapping[str, str]) -> bytes:
    """A client's request."""
    body = json.dumps({"jsonrpc": "2.0", "method": task, "params": dict(params), "id": 1}).encode()
    return _LENGTH.pack(len(body)) + body


def result(request_id: Any, text: str | None) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": text}).encode()


def failure(request_id: Any, text: str) -> bytes:
    error = {"code": INVALID_PARAMS, "message": text}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode()


class JsonServer:
    """From `open` to `close`; the socket's file is there as long."""

    def __init__(self, monitor: Monitor, path: Path) -> None:
        self._monitor = monitor
        self._path = path
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._converse, self._path, backlog=10)
        self._path.chmod(0o600)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                if length > MAX_REQUEST:
                    return
                body = await reader.readexactly(length)
            writer.write(await self._answer(body))
            await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            log.debug("a client of the socket left: %r", error)
        finally:
            writer.close()

    async def _answer(self, body: bytes) -> bytes:
        try:
            request = parse_request(body)
        except ValueError as error:
            return failure(0, str(error))
        try:
            tasks.find(request.task)
        except UnknownMethod:
            return failure(0, "unknown RPC")
        try:
            return result(request.id, await tasks.perform(self._monitor, request.task, request.params))
        except TaskRefused as error:
            return failure(request.id, str(error))
        except OpenxtError as error:
            return failure(request.id, on_the_wire(error))
        except Exception:
            log.exception("%s failed", request.task)
            return failure(request.id, on_the_wire(Unavailable("internal error")))
