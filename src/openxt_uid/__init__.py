# SPDX-License-Identifier: GPL-2.0-or-later
"""The web server of the browser UI: static pages, to the UI's VM over v4v or to a browser of this machine."""
