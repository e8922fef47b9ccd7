# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM is, and what can be done with it."""
