# SPDX-License-Identifier: GPL-2.0-or-later
"""Choose the keeper of `Hypervisor` by the environment.  Imports only the one that is asked for."""

from collections.abc import Mapping

from openxt_core.errors import BadRequest
from openxt_xen.hypervisor import Hypervisor

SIMULATED = "simulated:"


def open_hypervisor(environ: Mapping[str, str]) -> Hypervisor:
    """OPENXT_HYPERVISOR: `libxc` (the default) or `simulated:SOCKET`.

    Raises Unavailable when that hypervisor cannot be reached, BadRequest for another word.
    """
    wanted = environ.get("OPENXT_HYPERVISOR") or "libxc"
    if wanted.startswith(SIMULATED):
        from openxt_xen.simulated import SimulatedHypervisor

        return SimulatedHypervisor(wanted.removeprefix(SIMULATED))
    if wanted != "libxc":
        raise BadRequest(f"OPENXT_HYPERVISOR is {wanted!r}: neither `libxc` nor `simulated:SOCKET`")
    from openxt_xen.libxc import LibXc

    return LibXc()
