# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of each other daemon, in our words."""
