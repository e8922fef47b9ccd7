# SPDX-License-Identifier: GPL-2.0-or-later
"""apptool: appliances as OVF packages, imported, replaced and removed.

A package is read (`package`, `manifest`, `xml_tree`, `read`), becomes a plan without any question asked of
the host (`to_template`), and is carried out by `install`, which takes everything back when a step fails.
"""
