# SPDX-License-Identifier: GPL-2.0-or-later
"""The version that a guest claims for its drivers."""

import re

from hypothesis import given
from hypothesis import strategies as st

from openxt_xenmgr.vm.guest import version_of


def test_four_numbers_are_a_version() -> None:
    assert version_of(["7", "2", "0", "1024"]) == "7.2.0.1024"


@given(st.lists(st.text(max_size=20), max_size=6))
def test_whatever_a_guest_writes_is_four_numbers_or_no_version(parts: list[str]) -> None:
    assert re.fullmatch(r"(\d{1,10}(\.\d{1,10}){3})?", version_of(parts), re.ASCII)
