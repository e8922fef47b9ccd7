# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that many programs must spell alike: uuids, object paths, bus names.  Pure."""

import re
from typing import NewType

from openxt_core.errors import BadRequest

Uuid = NewType("Uuid", str)
"""Lower-case text form with dashes; only `parse_uuid` and `dashed` make one."""

Domid = NewType("Domid", int)
"""Number of a domain; new at each start, never stored."""

DOM0 = Domid(0)
DOM0_UUID = Uuid("00000000-0000-0000-0000-000000000000")

DBD_NAME = "com.citrix.xenclient.db"
XENMGR_NAME = "com.citrix.xenclient.xenmgr"
RPC_PROXY_NAME = "com.citrix.xenclient.rpc_proxy"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def parse_uuid(text: str) -> Uuid:
    """The uuid in `text`, in lower case.  Raises BadRequest for anything else."""
    lowered = text.lower()
    if not _UUID.match(lowered):
        raise BadRequest(f"not a uuid: {text[:60]!r} (expected xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx)")
    return Uuid(lowered)


def underscored(uuid: Uuid) -> str:
    """The uuid as it stands in object paths and bus names, which allow no dash."""
    return uuid.replace("-", "_")


def dashed(text: str) -> Uuid:
    """The uuid in a path element such as `6ba7b810_9dad_…`.  Raises BadRequest."""
    return parse_uuid(text.replace("_", "-"))


def vm_path(uuid: Uuid) -> str:
    """xenmgr's object of a VM."""
    return f"/vm/{underscored(uuid)}"


def disk_path(uuid: Uuid, disk: int) -> str:
    return f"{vm_path(uuid)}/disk/{disk}"


def nic_path(uuid: Uuid, nic: int) -> str:
    return f"{vm_path(uuid)}/nic/{nic}"


def xenvm_name(uuid: Uuid) -> str:
    """Bus name of a VM's monitor, and the name of its method interface."""
    return f"org.xen.vm.uuid_{underscored(uuid)}"


def xenvm_path(uuid: Uuid) -> str:
    """Object path that a VM's monitor sends its signals from."""
    return f"/org/xen/vm/{underscored(uuid)}"
