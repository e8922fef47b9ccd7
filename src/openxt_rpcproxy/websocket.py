# SPDX-License-Identifier: GPL-2.0-or-later
"""A WebSocket's server side without I/O: bytes in, whole texts and bytes to send out.

The protocol itself is the `websockets` library's.  Ours: who is let in, whole messages from fragments, and
that no byte of a client is looked at as a frame before its handshake is answered.  Source: RFC 6455.
"""

import http
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # built without its C part
    from websockets.utils import apply_mask

MAX_TEXT = 1024 * 1024  # bytes
MAX_HANDSHAKE = 16 * 1024
VERSION = "13"
_FIN, _RESERVED, _MASKED = 0x80, 0x70, 0x80
_TWO_BYTES = 126  # a length that says: the length follows, in two bytes; one more: in eight
_WHOLE_TEXT = _FIN | int(Opcode.TEXT)
_WHOLE = frozenset({_WHOLE_TEXT, _FIN | Opcode.BINARY})
_HEAD_END = b"\r\n\r\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Admission:
    """Which pages may connect, and under which names of ours."""

    origins: tuple[str, ...] = ()  # empty: pages of the host name that the client connects to; `*`: any
    hosts: tuple[str, ...] = ()  # host names without port; empty: any

    def complaint(self, host: str | None, origin: str | None) -> str:
        """Why a client with these headers is not let in; "" when it is.  A program sends no Origin."""
        name = _hostname(f"//{host}")
        if not host or not name:
            return "no Host"
        if self.hosts and name not in self.hosts:
            return "this Host is not served here"
        if origin is None or "*" in self.origins:
            return ""
        if origin in self.origins if self.origins else _hostname(origin) == name:
            return ""
        return "this Origin may not connect"


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


class WebSocket:
    def __init__(self, admission: Admission, *, is_text: bool = True) -> None:
        """`is_text`: whether what we send is text, or bytes."""
        self._admission = admission
        self._opcode = int(Opcode.TEXT if is_text else Opcode.BINARY)
        self._protocol = ServerProtocol(max_size=MAX_TEXT)
        self._head = bytearray()
        self._out = bytearray()
        self._rest = bytearray()  # of a frame that is not whole yet
        self._text = bytearray()  # of a message whose last frame has not come
        self._is_text = self._is_fragmented = False
        self.is_over = False  # send what is left to send, then close the stream

    @property
    def is_open(self) -> bool:
        return self._protocol.state is State.OPEN

    @property
    def held_bytes(self) -> int:
        """Of a message that is not whole yet."""
        return len(self._text) + len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came; the texts that are complete now."""
        if self.is_over:
            return []
        if self._protocol.state is State.CONNECTING:
            data = self._handshake(data)
        texts: list[bytes] = []
        if data and not self.is_over:
            self._cut(data, texts)
        return texts

    def _cut(self, data: bytes, texts: list[bytes]) -> None:
        """Frame by frame.  The library sees all but the plain case, which it would take five times as long
        for: a whole, masked text or binary message in one frame."""
        if self._rest:
            data = bytes(self._rest) + data
        at = self._cut_plain(data, texts)
        end = len(data)
        while at < end and not self.is_over:
            size = data[at + 1] & 0x7F if at + 6 <= end else _TWO_BYTES
            if size < _TWO_BYTES and data[at + 1] & _MASKED and not data[at] & _RESERVED:
                payload_at, stop, is_sound = at + 6, at + 6 + size, True
            else:
                payload_at, stop, is_sound = _frame(data, at)
            if stop > end:
                break
            if not is_sound and self.is_open:  # the library would wait for all of it, and we lose our place
                too_large = not data[at] & _RESERVED and data[at + 1] & _MASKED
                code = CloseCode.MESSAGE_TOO_BIG if too_large else CloseCode.PROTOCOL_ERROR
                self._fail(code, "too large, or no frame of a client")
                break
            if is_sound and data[at] in _WHOLE and not self._is_fragmented and self.is_open:
                payload = apply_mask(data[payload_at:stop], data[payload_at - 4 : payload_at])
                if data[at] == _WHOLE_TEXT and not payload.isascii() and not _is_utf8(payload):
                    self._fail(CloseCode.INVALID_DATA, "not UTF-8")
                    break
                texts.append(payload)
            else:
                self._protocol.receive_data(data[at:stop])
                self._read_frames(texts)
                self._collect()
            at = stop
        self._rest = bytearray(data[at:])

    def _cut_plain(self, data: bytes, texts: list[bytes]) -> int:
        """Take ASCII texts of less than 64 KiB, masked and each in a frame of its own; where others begin."""
        at, most = 0, len(data) - 8
        if self._is_fragmented or not self.is_open:
            return 0
        while at <= most and data[at] == _WHOLE_TEXT:
            size = data[at + 1] - _MASKED
            if size == _TWO_BYTES:
                payload_at = at + 8
                stop = payload_at + (data[at + 2] << 8 | data[at + 3])
            elif 0 <= size < _TWO_BYTES:
                payload_at = at + 6
                stop = payload_at + size
            else:
                break
            if stop > most + 8:
                break
            text = apply_mask(data[payload_at:stop], data[payload_at - 4 : payload_at])
            if not text.isascii():
                break
            texts.append(text)
            at = stop
        return at

    def send(self, texts: Iterable[bytes]) -> None:
        """Queue some texts; after the end they go nowhere."""
        if self.is_open:
            out, opcode = self._out, self._opcode | _FIN
            for text in texts:
                size = len(text)
                if size < _TWO_BYTES:
                    out += bytes((opcode, size)) + text
                else:
                    out += _head(opcode, size) + text

    def close(self) -> None:
        """Say that we go away, unless the end was said already."""
        if self.is_open:
            self._protocol.send_close(CloseCode.GOING_AWAY)
            self._collect()

    def take(self) -> bytes:
        """What is to be sent now."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def _handshake(self, data: bytes) -> bytes:
        """Answer the request once it is whole; what follows it in the stream."""
        self._head += data
        end = self._head.find(_HEAD_END)
        if end < 0 or end > MAX_HANDSHAKE:
            if len(self._head) > MAX_HANDSHAKE:
                self._out += _BAD_REQUEST
                self.is_over = True
            return b""
        end += len(_HEAD_END)
        head, rest = bytes(self._head[:end]), bytes(self._head[end:])
        self._head.clear()
        self._protocol.receive_data(head)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._answer(event))
        self._collect()
        if self.is_over and not self._out:
            self._out += _BAD_REQUEST
        return rest

    def _answer(self, request: Request) -> Response:
        hosts, origins = (request.headers.get_all(name) for name in ("Host", "Origin"))
        complaint = self._admission.complaint(hosts[0] if hosts else None, origins[0] if origins else None)
        if len(hosts) != 1:
            return self._protocol.reject(http.HTTPStatus.BAD_REQUEST, "one Host is needed\n")
        if complaint or len(origins) > 1:
            return self._protocol.reject(http.HTTPStatus.FORBIDDEN, f"{complaint}\n")
        response = self._protocol.accept(request)
        if response.status_code == http.HTTPStatus.BAD_REQUEST and _other_version(request):
            response = self._protocol.reject(http.HTTPStatus.UPGRADE_REQUIRED, f"only version {VERSION}\n")
            response.headers["Sec-WebSocket-Version"] = VERSION
        return response

    def _read_frames(self, texts: list[bytes]) -> None:
        for event in self._protocol.events_received():
            if not isinstance(event, Frame) or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                continue
            if event.opcode is not Opcode.CONT:
                self._is_text = event.opcode is Opcode.TEXT
            self._text += event.data
            self._is_fragmented = not event.fin
            if event.fin and not self._finish(texts):
                return

    def _finish(self, texts: list[bytes]) -> bool:
        """A message is complete.  False when it ends the connection."""
        text = bytes(self._text)
        self._text.clear()
        if self._is_text and not _is_utf8(text):
            self._fail(CloseCode.INVALID_DATA, "not UTF-8")
            return False
        texts.append(text)
        return True

    def _fail(self, code: CloseCode, why: str) -> None:
        self._protocol.fail(code, why)
        self._collect()

    def _collect(self) -> None:
        for piece in self._protocol.data_to_send():
            self._out += piece
            self.is_over |= not piece  # an empty piece stands for the end


def _frame(data: bytes, at: int) -> tuple[int, int, bool]:
    """Where the payload of the frame at `at` begins and ends; a little further on when that is not known yet.

    False for what is too large, or no frame at all: it ends where the data does, and the library refuses it.
    """
    end = len(data)
    if end - at < 2:
        return at, end + 1, True
    size, head = data[at + 1] & 0x7F, 2
    if size >= _TWO_BYTES:
        extra = 2 if size == _TWO_BYTES else 8
        head += extra
        size = int.from_bytes(data[at + 2 : at + head], "big") if end - at >= head else 0
    if data[at + 1] & _MASKED:
        head += 4
    if end - at < head:
        return at, end + 1, True
    if size > MAX_TEXT or data[at] & _RESERVED or not data[at + 1] & _MASKED:
        return at + head, end, False
    return at + head, at + head + size, True


def _head(first: int, size: int) -> bytes:
    """Of an unmasked frame of more than a few bytes."""
    if size < 2**16:
        return bytes((first, _TWO_BYTES)) + size.to_bytes(2, "big")
    return bytes((first, _TWO_BYTES + 1)) + size.to_bytes(8, "big")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _other_version(request: Request) -> bool:
    return request.headers.get_all("Sec-WebSocket-Version") != [VERSION]
