# SPDX-License-Identifier: GPL-2.0-or-later
"""Lay out the folder of a private host: what a dom0 has on its disks, below one root.

Starts nothing; `supervisor` does.
"""

import errno
import fcntl
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from openxt_core.places import Places

# UNIX socket paths hold 107 bytes; ours add up to 40 to the root.
MAX_ROOT_LENGTH = 64

_FOLDERS = (
    "/config",
    "/etc",
    "/storage/isos",
    "/storage/disks",
    "/tmp",
    "/usr/share/xenclient",
    "/var/log/xen/console",
    "/var/run/xenvm",
    "/var/run/v4v",
    "/var/run/guests",
    "/log",
    "/sim",
)

_BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow eavesdrop="true"/>
  </policy>
  <limit name="max_replies_per_connection">2000</limit>
  <limit name="max_connections_per_user">512</limit>
  <limit name="reply_timeout">200000</limit>
</busconfig>
"""


@dataclass(frozen=True)
class Layout:
    """Where things are in a private host's folder."""

    root: Path
    simulated: bool = True

    @property
    def places(self) -> Places:
        return Places(self.root)

    @property
    def bus_address(self) -> str:
        if not self.simulated:
            return "unix:path=/var/run/dbus/system_bus_socket"
        return f"unix:path={self.root}/bus"

    @property
    def bus_config(self) -> Path:
        return self.root / "bus.conf"

    @property
    def sim(self) -> Path:
        return self.root / "sim"

    @property
    def consoles(self) -> Path:
        """Where guests' console output is collected."""
        return self.root / "var/log/xen/console" if self.simulated else Path("/var/log/xen/console")

    def log(self, service: str) -> Path:
        return self.root / "log" / f"{service}.log"

    def environ(self) -> dict[str, str]:
        """What every program of this host must find in its environment."""
        found = {
            "OPENXT_ROOT": str(self.root),
            "OPENXT_LOG": "stderr",
            "DBUS_SYSTEM_BUS_ADDRESS": self.bus_address,
            "OPENXT_HYPERVISOR": "libxc",
        }
        if self.simulated:
            found["XENSTORED_PATH"] = str(self.sim / "xenstored")
            found["OPENXT_HYPERVISOR"] = f"simulated:{self.sim / 'hypercalls'}"
        return found


def lay_out(layout: Layout, share: Path) -> IO[str]:
    """Make the folder anew: what an earlier run left in it is removed.

    `share` is the project's folder with templates, rules and the default database.  Until the file that is
    returned is closed, nobody else can lay out the folder.  Raises OSError.
    """
    if not (share / "templates").is_dir():
        raise FileNotFoundError(f"{share.absolute()} is not the project's folder; name that with --share")
    mark = _taken(layout.root)
    try:
        _clear(layout.root)
        _fill(layout, share)
    except BaseException:
        mark.close()
        raise
    return mark


def _fill(layout: Layout, share: Path) -> None:
    for folder in _FOLDERS:
        layout.places.at(folder).mkdir(parents=True, exist_ok=True)
    layout.places.at("/var/run/v4v").chmod(0o700)
    layout.bus_config.write_text(_BUS_CONFIG.format(socket=layout.root / "bus"))
    shutil.copytree(share / "templates", layout.places.templates, dirs_exist_ok=True)
    shutil.copy(share / "rules/rpc-proxy.rules", layout.places.rpc_rules)
    shutil.copy(share / "rules/ui-local.rules", layout.places.at("/etc/ui-local.rules"))
    shutil.copy(share / "etc/db.default", layout.places.at("/usr/share/xenclient/db.default"))


_MARK = "openxt-house"
_MARK_TEXT = "Folder of a private OpenXT host; removed and made anew at each run.\n"


def _taken(root: Path) -> IO[str]:
    """The locked mark of a folder of ours; others are refused, so that a mistyped --dir does no harm."""
    if root.exists() and any(root.iterdir()) and not (root / _MARK).exists():
        raise FileExistsError(f"{root} exists and is not a run folder of ours; choose another with --dir")
    root.mkdir(parents=True, exist_ok=True)
    mark = (root / _MARK).open("a")
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        mark.close()
        if error.errno != errno.EWOULDBLOCK:
            raise
        raise BlockingIOError(
            f"another openxt-house has its host in {root}; end it, or choose another folder with --dir"
        ) from None
    return mark


def _clear(root: Path) -> None:
    """All but the mark, which is locked."""
    for entry in root.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != _MARK:
            entry.unlink()
    (root / _MARK).write_text(_MARK_TEXT)
