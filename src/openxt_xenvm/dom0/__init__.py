# SPDX-License-Identifier: GPL-2.0-or-later
"""What the control domain itself gives to devices: loop devices and bridges.  One promise, two keepers."""
