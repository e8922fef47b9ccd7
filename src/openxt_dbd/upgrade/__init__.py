# SPDX-License-Identifier: GPL-2.0-or-later
"""upgrade-db: an older database becomes one of today's version, step by step; one file a step."""
