# SPDX-License-Identifier: GPL-2.0-or-later
"""dom0's /etc/hosts: running service VMs by their names, at the addresses of their v4v interfaces.

Source of address and format: OpenXT xenmgr, 2015.
"""

import contextlib
import re
from pathlib import Path

from openxt_core.errors import IoError
from openxt_core.ids import Domid

LOCAL = "127.0.0.1 localhost"
OURS = "1.0.0."
_NO_HOST_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def host_name(name: str) -> str:
    """A VM's name as a host name."""
    return _NO_HOST_NAME.sub("-", name.strip())


def with_vm(content: str, name: str, domid: Domid | None) -> str:
    """The file with the VM's line as it is now, without one if it has no domain; all else stays."""
    host = host_name(name)
    kept = [line for line in content.splitlines() if not _is_ours(line, host)]
    if not any("localhost" in line.partition("#")[0].split()[1:] for line in kept):
        kept.insert(0, LOCAL)
    if domid is not None and host:
        kept.append(f"{OURS}{domid} {host}")
    return "".join(f"{line}\n" for line in kept)


def _is_ours(line: str, host: str) -> bool:
    """A name that somebody else gave to another machine stays theirs."""
    return line.startswith(OURS) and line.split()[1:] == [host]


def update(path: Path, name: str, domid: Domid | None) -> None:
    """Replace the file at once; nothing happens where nothing changes.  Raises IoError (223)."""
    content = ""
    with contextlib.suppress(FileNotFoundError):
        content = path.read_text(errors="surrogateescape")
    wanted = with_vm(content, name, domid)
    if host_name(name) in ("", "localhost") or wanted == content:
        return
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_text(wanted, errors="surrogateescape")
        fresh.chmod(0o644)
        fresh.replace(path)
    except OSError as error:
        raise IoError(f"IO error: {path}: {error.strerror}") from error
