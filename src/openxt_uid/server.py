# SPDX-License-Identifier: GPL-2.0-or-later
"""HTTP over any stream: h11 speaks it, `pages` answers, this file reads, writes and keeps time.

A client may open a few connections, send small requests, and take a while; then it is cut off.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import h11

from openxt_uid.pages import SECURITY, Answer, LogLine, file_answer, target
from openxt_uid.settings import Settings

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
MAX_HEAD = 16 * 1024
MAX_BODY = 8 * 1024
REQUEST_TIMEOUT_S = 30.0
SERVER = "XCI_UID"  # sic: what the original calls itself

Read = Callable[[], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[None]]


class TooMuch(Exception):
    """A request with a body beyond what anybody needs."""


class Server:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = 0

    async def serve(self, read: Read, write: Write, who: str) -> None:
        """One connection until its end; more than MAX_CONNECTIONS at once are turned away."""
        if self._open >= MAX_CONNECTIONS:
            log.warning("%s: more than %d connections; turned away", who, MAX_CONNECTIONS)
            return
        self._open += 1
        try:
            await self._requests(
                h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD), read, write, who
            )
        except (TimeoutError, OSError, EOFError):
            log.debug("%s: cut off", who)
        finally:
            self._open -= 1

    async def _requests(self, http: h11.Connection, read: Read, write: Write, who: str) -> None:
        while True:
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    request, body = await _next_request(http, read)
            except h11.RemoteProtocolError as error:
                await _send(http, write, Answer(error.error_status_hint or 400, b"not a request\n"), False)
                return
            except TooMuch:
                await _send(http, write, Answer(413, b"too much\n"), False)
                return
            if request is None:
                return
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                answer = await self._answer(request, body, who)
                await _send(http, write, answer, request.method == b"HEAD")
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _answer(self, request: h11.Request, body: bytes, who: str) -> Answer:
        raw = request.target.decode("ascii", "replace")
        if self._settings.log_requests:
            log.info("%s: %s %.200r", who, request.method.decode(), raw)
        wanted = target(request.method.decode(), raw)
        if isinstance(wanted, LogLine):
            log.log(wanted.level, "%s says: %.500r", who, body.decode(errors="replace"))
            return Answer(200)
        if isinstance(wanted, Answer):
            return wanted
        return await asyncio.to_thread(file_answer, self._settings, wanted)


async def _next_request(http: h11.Connection, read: Read) -> tuple[h11.Request | None, bytes]:
    """The next request with its body; None at the end of the connection."""
    request, body = None, b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await read())
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise TooMuch
        elif isinstance(event, h11.EndOfMessage):
            return request, body
        else:
            return None, b""


async def _send(http: h11.Connection, write: Write, answer: Answer, is_head: bool) -> None:
    headers = {**SECURITY, "content-type": "text/plain", "server": SERVER, **answer.headers}
    headers["content-length"] = str(len(answer.body))
    response = h11.Response(
        status_code=answer.status,
        headers=list(headers.items()),
        reason=HTTPStatus(answer.status).phrase.encode(),
    )
    data = http.send(response) or b""
    if not is_head:
        data += http.send(h11.Data(data=answer.body)) or b""
    await write(data + (http.send(h11.EndOfMessage()) or b""))
