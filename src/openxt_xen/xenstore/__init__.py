# SPDX-License-Identifier: GPL-2.0-or-later
"""XenStore: packets (`wire`), the asyncio client (`client`) and the names of nodes (`paths`)."""
