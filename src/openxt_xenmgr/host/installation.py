# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps of the installation that were put off: a file each, until the user interface ends them.

Source: OpenXT xenmgr, 2015.
"""

from openxt_core.places import Places

# What is left to do, and the file that says so; the step that ends it.
DEFERRED = (
    ("deferred-dom0-password", "/config/deferred_dom0_password", "dom0-password-set"),
    ("deferred-kb-layout", "/config/deferred_kb_layout", "kb-layout-set"),
    ("deferred-accept-eula", "/config/deferred_eula", "eula-accepted"),
    ("deferred-language", "/config/deferred_language", "language-set"),
)


def is_complete(places: Places) -> bool:
    """Whether no step is left."""
    return not any(places.at(path).exists() for _, path, _ in DEFERRED)
