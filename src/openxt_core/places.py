# SPDX-License-Identifier: GPL-2.0-or-later
"""Every file and folder of the host that more than one program names, below one root.

The root is `/` in a dom0; a private host (tests, `make run`) sets OPENXT_ROOT to a folder of its own.
Pure: nothing here touches a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid

DEFAULT_SYSTEM_BUS = "unix:path=/var/run/dbus/system_bus_socket"


def v4v_keeper(environ: Mapping[str, str]) -> str:
    """What carries v4v here, `vchan` or `unix`: OPENXT_V4V, else as the hypervisor is (OPENXT_HYPERVISOR).

    Raises BadRequest for another word.
    """
    simulated = environ.get("OPENXT_HYPERVISOR", "").startswith("simulated:")
    wanted = environ.get("OPENXT_V4V") or ("unix" if simulated else "vchan")
    if wanted not in ("unix", "vchan"):
        raise BadRequest(f"OPENXT_V4V is {wanted!r}: neither `vchan` nor `unix`")
    return wanted


@dataclass(frozen=True)
class Places:
    root: Path = Path("/")

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Places":
        return cls(Path(environ.get("OPENXT_ROOT") or "/"))

    def at(self, path: str) -> Path:
        """A path of the real dom0, such as `/config/db`, below our root."""
        return self.root / path.lstrip("/")

    @property
    def config(self) -> Path:
        return self.at("/config")

    @property
    def db(self) -> Path:
        return self.at("/config/db")

    @property
    def templates(self) -> Path:
        """Folder of folders: one per flavour."""
        return self.at("/usr/share/xenmgr-1.0/templates")

    @property
    def flavour(self) -> Path:
        return self.at("/etc/xenclient.flavour")

    @property
    def xenclient_conf(self) -> Path:
        return self.at("/etc/xenclient.conf")

    @property
    def rpc_rules(self) -> Path:
        return self.at("/etc/rpc-proxy.rules")

    @property
    def storage(self) -> Path:
        return self.at("/storage")

    @property
    def run(self) -> Path:
        """Sockets, locks and records that do not outlive a boot."""
        return self.at("/var/run")

    def xenvm_config(self, uuid: Uuid) -> Path:
        """What xenmgr writes and xenvm reads."""
        return self.at(f"/tmp/xenmgr-xenvm-{uuid}")

    def xenvm_record(self, uuid: Uuid) -> Path:
        """What a restarted xenvm must know of its running domain; gone at boot."""
        return self.run / "xenvm" / f"{uuid}.json"

    @property
    def zygote_socket(self) -> Path:
        return self.run / "xenvm" / "zygote"

    @property
    def v4v(self) -> Path:
        """Folder of the `unix` v4v transport: one socket per listening port."""
        return self.run / "v4v"
