# SPDX-License-Identifier: GPL-2.0-or-later
"""openxt_ovf.vhd: which sectors a differencing VHD has itself."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_ovf.vhd import HEADER_BYTES, UNUSED, Header, own_sectors, read_header, runs


def header(**fields: int) -> bytes:
    data = bytearray(HEADER_BYTES)
    data[:8] = b"cxsparse"
    values = {"table": 1536, "version": 0x10000, "entries": 2, "block": 4096} | fields
    struct.pack_into(">QIII", data, 16, *values.values())
    struct.pack_into(">I", data, 36, ~sum(data) & 0xFFFFFFFF)
    return bytes(data)


def test_a_header_tells_where_the_blocks_are() -> None:
    assert read_header(header()) == Header(1536, 2, 4096, bytes(16))


@pytest.mark.parametrize(
    "data", [b"", bytes(HEADER_BYTES), header(block=5000), header(block=1 << 30), header(entries=1 << 30)]
)
def test_an_impossible_header_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read_header(data)


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_any_bytes_are_a_header_or_refused(rest: bytes) -> None:
    with pytest.raises(BadRequest):
        read_header(b"cxsparse" + rest[8:])


@given(st.lists(st.booleans(), min_size=8, max_size=64))
def test_runs_cover_the_set_bits_alone(bits: list[bool]) -> None:
    text = "".join("1" if bit else "0" for bit in bits)
    bitmap = int(text.ljust(64, "0"), 2).to_bytes(8, "big")
    covered = {at for first, last in runs(bitmap, len(bits)) for at in range(first, last)}
    assert covered == {at for at, bit in enumerate(bits) if bit}


def test_only_its_own_sectors_are_given_with_their_place() -> None:
    image = bytes(2048) + b"\x60" + bytes(511) + b"".join(bytes([n]) * 512 for n in range(8))
    found = list(
        own_sectors(Header(0, 2, 4096, b""), struct.pack(">II", UNUSED, 4), lambda at, n: image[at : at + n])
    )
    assert found == [(4096 + 512, b"\1" * 512 + b"\2" * 512)]
    with pytest.raises(BadRequest, match="cut off"):
        list(own_sectors(Header(0, 1, 4096, b""), struct.pack(">I", 99), lambda at, n: image[at : at + n]))
