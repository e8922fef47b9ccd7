# SPDX-License-Identifier: GPL-2.0-or-later
"""The server's side of a WebSocket: who is let in, what is read, and how it ends."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from openxt_rpcproxy.websocket import MAX_HANDSHAKE, MAX_TEXT, Admission, WebSocket

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # Source: RFC 6455 section 1.3
TEXT, BINARY, CONT, CLOSE, PING = 1, 2, 0, 8, 9


def handshake(first: str = "GET /any/path HTTP/1.1", **changes: str | None) -> bytes:
    headers = {
        "Host": "1.0.0.0:8080",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    changed: dict[str, str | None] = {**headers, **{k.replace("_", "-"): v for k, v in changes.items()}}
    lines = [f"{name}: {value}" for name, value in changed.items() if value is not None]
    return "\r\n".join([first, *lines, "", ""]).encode()


def frame(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    mark = 0x80 if masked else 0
    if size < 126:
        head += bytes([mark | size])
    elif size < 65536:
        head += struct.pack(">BH", mark | 126, size)
    else:
        head += struct.pack(">BQ", mark | 127, size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


def masked(plain: bytes, mask: bytes) -> bytes:
    """A frame of `frame` with another mask."""
    if not plain[1] & 0x80:
        return plain
    at = {126: 4, 127: 10}.get(plain[1] & 0x7F, 2)
    payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(plain[at + 4 :]))
    return plain[:at] + mask + payload


def opened() -> WebSocket:
    one = WebSocket(Admission())
    one.feed(handshake())
    assert one.is_open
    one.take()
    return one


def close_code(one: WebSocket) -> int:
    """Of the close frame that is to be sent."""
    assert one.is_over
    out = one.take()
    at = out.index(b"\x88")
    return int(struct.unpack_from(">H", out, at + 2)[0])


def test_the_handshake_is_answered_as_the_specification_shows() -> None:
    one = WebSocket(Admission())
    assert one.feed(handshake()) == []
    answer = one.take().decode()
    assert answer.startswith("HTTP/1.1 101 Switching Protocols\r\n")
    assert f"Sec-WebSocket-Accept: {ACCEPT}\r\n" in answer
    assert "Sec-WebSocket-Protocol" not in answer
    assert "Sec-WebSocket-Extensions" not in answer
    assert one.is_open


def test_a_handshake_may_come_byte_by_byte_and_with_a_frame_behind_it() -> None:
    one = WebSocket(Admission())
    data = handshake() + frame(TEXT, b"early")
    texts = [text for byte in data for text in one.feed(bytes([byte]))]
    assert texts == [b"early"]
    other = WebSocket(Admission())
    assert other.feed(data) == [b"early"]
    assert other.take().startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (handshake("POST / HTTP/1.1"), 400),
        (handshake("GET / HTTP/1.0"), 400),
        (handshake(Upgrade=None), 426),
        (handshake(Upgrade="h2c"), 426),
        (handshake(Connection="close"), 426),
        (handshake(Sec_WebSocket_Version="8"), 426),
        (handshake(Sec_WebSocket_Version=None), 426),
        (handshake(Sec_WebSocket_Key=None), 400),
        (handshake(Sec_WebSocket_Key="short"), 400),
        (handshake(Host=None), 400),
        (b"no HTTP at all\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"x" * (MAX_HANDSHAKE + 1), 400),
    ],
)
def test_a_bad_request_is_refused(request_: bytes, status: int) -> None:
    one = WebSocket(Admission())
    one.feed(request_)
    found = int(one.take().split(b" ")[1])
    assert found == status or (status == 400 and found in (405, 505))
    assert one.is_over
    assert not one.is_open
    assert one.feed(frame(TEXT, b"x")) == []


def test_another_version_is_told_which_one_is_spoken() -> None:
    one = WebSocket(Admission())
    one.feed(handshake(Sec_WebSocket_Version="8"))
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in one.take()


HOST = "1.0.0.0:8080"


@pytest.mark.parametrize(
    ("admission", "host", "origin", "is_let_in"),
    [
        (Admission(), HOST, None, True),
        (Admission(), HOST, "http://1.0.0.0", True),
        (Admission(), HOST, "http://1.0.0.0:80", True),
        (Admission(), HOST, "http://evil.example", False),
        (Admission(), HOST, "null", False),
        (Admission(), HOST, "http://[", False),
        (Admission(), "", None, False),
        (Admission(), None, None, False),
        (Admission(origins=("*",)), HOST, "http://evil.example", True),
        (Admission(origins=("https://ui",)), HOST, "https://ui", True),
        (Admission(origins=("https://ui",)), HOST, "http://1.0.0.0", False),
        (Admission(origins=("https://ui",)), HOST, None, True),
        (Admission(hosts=("1.0.0.0",)), HOST, None, True),
        (Admission(hosts=("other",)), HOST, None, False),
    ],
)
def test_pages_and_hosts_are_let_in_or_not(
    admission: Admission, host: str | None, origin: str | None, is_let_in: bool
) -> None:
    assert (admission.complaint(host, origin) == "") is is_let_in


def test_text_and_binary_messages_are_texts() -> None:
    one = opened()
    assert one.feed(frame(TEXT, b"a") + frame(BINARY, b"b")) == [b"a", b"b"]
    assert one.feed(frame(TEXT, b"c" * 70000)) == [b"c" * 70000]


def test_fragments_are_put_together_with_a_ping_between_them() -> None:
    one = opened()
    assert one.feed(frame(TEXT, "ä".encode()[:1], fin=False)) == []
    assert one.feed(frame(PING, b"now")) == []
    assert one.take() == frame(10, b"now", masked=False)
    assert one.feed(frame(CONT, "ä".encode()[1:], fin=False) + frame(CONT, b"!")) == ["ä!".encode()]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(TEXT, b"x", rsv=0x40), 1002),
        (frame(3, b"x"), 1002),
        (frame(CONT, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"x" * MAX_TEXT, fin=False) + frame(CONT, b"x"), 1009),
        (frame(TEXT, b"x" * (MAX_TEXT + 1)), 1009),
        (frame(CLOSE, struct.pack(">H", 1000)), 1000),
        (frame(CLOSE, struct.pack(">H", 1001) + b"away"), 1001),
    ],
)
def test_an_end_names_its_reason(data: bytes, code: int) -> None:
    one = opened()
    assert one.feed(data) == []
    assert close_code(one) == code


def test_what_is_sent_is_one_unmasked_text_frame_and_nothing_after_the_end() -> None:
    one = opened()
    one.send((b"hello",))
    assert one.take() == frame(TEXT, b"hello", masked=False)
    one.feed(frame(CLOSE, b""))
    one.take()
    one.send((b"late",))
    assert one.take() == b""


def test_a_server_that_goes_away_says_so_once() -> None:
    one = opened()
    one.close()
    assert one.take() == frame(CLOSE, struct.pack(">H", 1001), masked=False)
    one.close()
    one.send((b"late",))
    assert one.take() == b""


chunks = st.lists(st.binary(max_size=40), max_size=6)
frames = st.builds(
    frame,
    st.integers(0, 15),
    st.binary(max_size=200),
    fin=st.booleans(),
    masked=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 0x10, 0x40]),
)


@given(chunks)
def test_any_bytes_instead_of_a_handshake_are_survived(data: list[bytes]) -> None:
    one = WebSocket(Admission())
    for chunk in data:
        assert one.feed(chunk) == []
    assert not one.is_open


@given(st.lists(frames, max_size=8), st.binary(max_size=40), st.integers(1, 50))
def test_any_frames_give_texts_or_an_end_and_no_exception(some: list[bytes], noise: bytes, step: int) -> None:
    one = opened()
    data = b"".join(some) + noise
    for at in range(0, len(data), step):
        for text in one.feed(data[at : at + step]):
            assert len(text) <= MAX_TEXT
        one.send((b"{}",))
        one.take()
    assert one.is_open or one.is_over


def of_the_library(data: bytes) -> list[bytes]:
    """The messages of a client's frames as the library alone reads them, up to the first fault."""
    protocol = ServerProtocol(max_size=MAX_TEXT)
    protocol.receive_data(handshake())
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    protocol.receive_data(data)
    found, text, is_text = list[bytes](), b"", False
    for event in protocol.events_received():
        if isinstance(event, Frame) and event.opcode in (CONT, TEXT, BINARY):
            is_text = event.opcode is Opcode.TEXT or (is_text and event.opcode is Opcode.CONT)
            text += event.data
            if event.fin:
                try:
                    text.decode() if is_text else None
                except UnicodeDecodeError:
                    break
                found.append(text)
                text = b""
    return found


masks = st.sampled_from([b"\0\0\0\0", b"\x12\x34\x56\x78", b"\xff\0\xff\0"])
sizes = st.sampled_from([0, 1, 2, 5, 124, 125, 126, 127, 128, 300, 65535, 65536])


@given(st.lists(st.tuples(frames | st.builds(frame, st.just(TEXT), sizes.map(bytes)), masks), max_size=6))
def test_frames_mean_what_they_mean_to_the_library(some: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(masked(one, mask) for one, mask in some)
    assert opened().feed(data) == of_the_library(data)


def test_what_follows_a_wrong_frame_is_no_text_however_it_is_cut() -> None:
    wrong = bytes([0x80 | 0x20 | PING, 0x85]) + b"\0" * 4 + b"hello"
    for size in (1, 6, 7, 100):
        one, found, stream = opened(), list[bytes](), wrong + frame(TEXT, b"after")
        for at in range(0, len(stream), size):
            found += one.feed(stream[at : at + size])
        assert found == []
        assert close_code(one) == 1002
