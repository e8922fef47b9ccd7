# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of Xen and written to XenStore for a domain.  Pure."""
