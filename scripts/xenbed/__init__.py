# SPDX-License-Identifier: GPL-2.0-or-later
"""The Xen bed: the real Xen hypervisor with a Debian dom0, emulated by QEMU on any machine.

It builds and boots; what is tried on it comes as a payload.  It uses nothing of the project's own packages,
so that it runs with Debian's python3 on a machine where nothing is set up yet.  docs/xenbed.md tells more.
"""
