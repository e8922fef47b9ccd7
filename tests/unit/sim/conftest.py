# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the simulated host's unit tests."""

import pytest
from sim_bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
