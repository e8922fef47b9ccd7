# SPDX-License-Identifier: GPL-2.0-or-later
"""The modules that every monitor needs, loaded once, before it is forked."""

import gc
import importlib
import os

LAZY_MODULES = ("asyncio.base_events", "concurrent.futures.thread", "logging.handlers", "json.decoder")
"""What a monitor would otherwise load after its fork."""

KEEPERS = {
    "simulated": ("openxt_xen.simulated", "openxt_xenvm.dom0.simulated"),
    "libxc": ("openxt_xen.libxc", "_xenctrl_cffi", "openxt_xenvm.dom0.commands"),
}
"""Of the hypervisor, and of dom0 beside it."""


def preload() -> None:
    """Load what every monitor needs, and take it out of the garbage collector's sight.

    A collection in a child would touch, and so copy, every page it shares with us.
    """
    keeper = (os.environ.get("OPENXT_HYPERVISOR") or "libxc").partition(":")[0]
    for name in (*LAZY_MODULES, *KEEPERS.get(keeper, ())):
        try:
            importlib.import_module(name)
        except (ImportError, ValueError):
            continue  # the monitor that needs it says what is missing
    gc.collect()
    gc.freeze()
