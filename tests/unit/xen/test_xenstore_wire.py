# SPDX-License-Identifier: GPL-2.0-or-later
"""XenStore packets: what is written is read, in whatever pieces, and nonsense is told apart."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import InvalidArgs
from openxt_core.ids import Domid
from openxt_xen.xenstore import wire
from openxt_xen.xenstore.wire import Op, Packet, Permission, Splitter, WireError

_U32 = st.integers(0, 2**32 - 1)
_PACKETS = st.builds(Packet, op=_U32, payload=st.binary(max_size=300), req_id=_U32, tx_id=_U32)


@given(st.lists(_PACKETS, max_size=6), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_packets_are_read_as_written_whatever_the_pieces(packets: list[Packet], sizes: list[int]) -> None:
    data = b"".join(packet.encode() for packet in packets)
    splitter, read, turn = Splitter(), [], 0
    while data:
        size = sizes[turn % len(sizes)]
        read += splitter.feed(data[:size])
        data, turn = data[size:], turn + 1
    assert read == packets


@given(st.binary(max_size=200))
def test_random_bytes_are_packets_or_a_wire_error(data: bytes) -> None:
    try:
        packets = Splitter().feed(data)
    except WireError:
        return
    assert (
        b"".join(packet.encode() for packet in packets) == data[: sum(16 + len(p.payload) for p in packets)]
    )


def test_a_payload_above_the_limit_is_neither_sent_nor_taken() -> None:
    Packet(Op.WRITE, b"x" * wire.PAYLOAD_MAX).encode()
    with pytest.raises(WireError):
        Packet(Op.WRITE, b"x" * (wire.PAYLOAD_MAX + 1)).encode()
    with pytest.raises(WireError):
        Splitter().feed(struct.pack("=IIII", Op.WRITE, 1, 0, wire.PAYLOAD_MAX + 1))


def test_the_header_is_four_words_of_the_hosts_byte_order() -> None:
    assert Packet(Op.READ, b"/\0", 7, 9).encode() == struct.pack("=IIII", 2, 7, 9, 2) + b"/\0"


def test_an_error_without_a_name_of_the_protocol_travels_as_einval() -> None:
    assert Packet(Op.READ, b"", 3).error("EACCES") == Packet(Op.ERROR, b"EACCES\0", 3)
    assert Packet(Op.READ, b"", 3).error("ESRCH") == Packet(Op.ERROR, b"EINVAL\0", 3)


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_terminated_words_are_split_again(words: list[str]) -> None:
    assert [word.decode() for word in wire.split_terminated(wire.terminated(words))] == words


@given(st.integers(0, 2**31), st.sampled_from(["n", "r", "w", "b"]))
def test_a_permission_is_read_as_written(domid: int, access: wire.Access) -> None:
    permission = Permission(Domid(domid), access)
    assert wire.parse_permission(str(permission)) == permission


@pytest.mark.parametrize("text", ["", "r", "5", "x5", "r-1", "r5 ", "r５", "rr5"])
def test_what_is_no_permission_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgs):
        wire.parse_permission(text)


@given(st.binary())
def test_any_value_becomes_printable_text(value: bytes) -> None:
    assert isinstance(wire.to_text(value).encode(), bytes)


@pytest.mark.parametrize(
    "path", ["/", "/a", "/a/b-c_d@E9", "relative", "a/b", "/local/domain/5/" + "x" * 2048]
)
def test_well_formed_paths_pass(path: str) -> None:
    wire.check_path(path)


@pytest.mark.parametrize(
    "path", ["", "//", "/a/", "a/", "/a//b", "/a b", "/é", "/a\n", "@x", "/" + "x" * 2048, "x" * 2049, "/a\0"]
)
def test_malformed_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgs):
        wire.check_path(path)


def test_only_a_watch_may_name_an_event() -> None:
    wire.check_path("@releaseDomain", watch=True)
    with pytest.raises(InvalidArgs):
        wire.check_path("@release Domain", watch=True)
