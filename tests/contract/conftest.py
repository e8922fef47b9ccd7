# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures that several of the contract tests use."""

from bus_house import house  # noqa: F401  (pytest finds them here)
from hypervisor_bench import create, environ, hypervisor, opened  # noqa: F401
from xenstore_bench import address, base, client, connect  # noqa: F401  (pytest finds them here)
