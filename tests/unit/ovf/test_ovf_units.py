# SPDX-License-Identifier: GPL-2.0-or-later
"""openxt_ovf.units: numbers and units of a descriptor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_ovf.units import bytes_per_unit, mib, size_bytes, whole_number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("byte", 1),
        ("byte * 2^20", 1 << 20),
        ("byte*2^30", 1 << 30),
        (" byte * 10 ^ 9 ", 10**9),
        ("byte * 1024 * 1024", 1 << 20),
        ("byte * 512", 512),
        ("bytes", 1),
        ("MegaBytes", 1 << 20),
        ("MB", 1 << 20),
        ("GigaBytes", 1 << 30),
        ("KiloBytes", 1024),
        ("GiB", 1 << 30),
    ],
)
def test_a_unit_is_so_many_bytes(text: str, expected: int) -> None:
    assert bytes_per_unit(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "bit * 2^20", "hertz * 10^6", "byte * ", "byte * 0", "byte * 2^^3", "byte * 2^999", "byte * -2"],
)
def test_what_is_no_unit_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        bytes_per_unit(text)


@given(st.text(alphabet="byteMGk *^0123456789", max_size=30))
def test_any_text_is_a_positive_unit_or_refused(text: str) -> None:
    try:
        assert bytes_per_unit(text) > 0
    except BadRequest:
        pass


@given(st.integers(0, 1 << 40), st.integers(0, 40))
def test_a_size_is_number_times_unit_or_too_large(number: int, exponent: int) -> None:
    expected = number << exponent
    if expected <= 1 << 63:
        assert size_bytes(number, f"byte * 2^{exponent}") == expected
    else:
        with pytest.raises(BadRequest):
            size_bytes(number, f"byte * 2^{exponent}")


@given(st.integers(0, 1 << 62))
def test_mebibytes_are_rounded_up(size: int) -> None:
    assert 0 <= mib(size) * (1 << 20) - size < 1 << 20


@pytest.mark.parametrize("text", ["-1", "1.5", "0x10", "1e3", "٣", "9" * 30, " 1"])
def test_a_number_has_digits_alone(text: str) -> None:
    with pytest.raises(BadRequest, match="size cannot be"):
        whole_number(text, "size")
