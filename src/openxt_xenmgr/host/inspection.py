# SPDX-License-Identifier: GPL-2.0-or-later
"""Look into disk images without mounting them in dom0's sight: their sums, and files out of them.

Each look is a process of its own (`inspector`) with a private mount namespace.  Whatever ends it, or xenmgr,
neither mount nor device stays.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from openxt_core.errors import BadRequest, IoError, NotSupported, OpenxtError, Unavailable
from openxt_xenmgr.host import programs
from openxt_xenmgr.host.inspector import Order
from openxt_xenmgr.host.opened import Image

TIMEOUT_S = 1800.0  # a huge disk; a hostile one that never ends
_KINDS: dict[str, type[OpenxtError]] = {
    kind.__name__: kind for kind in (BadRequest, IoError, NotSupported, Unavailable)
}


async def sha256_of(image: Image) -> str:
    """Of the content of its file system (`measurement`), 64 hex digits.

    Raises NotSupported for what cannot be mounted, saying what it is; IoError (223); Unavailable when it
    takes more than half an hour.
    """
    return await _look(Order("sha256", image))


async def sha1_of(image: Image) -> str:
    """Of all its bytes, 40 hex digits.  Raises what sha256_of does."""
    return await _look(Order("sha1", image))


async def copy_out(image: Image, path: str, target: Path) -> None:
    """Copy a file out of an image; `target` is replaced at once, or stays as it was.

    Raises BadRequest when it is no file, and what sha256_of does.
    """
    try:
        file, name = tempfile.mkstemp(prefix=f"{target.name}.", dir=target.parent)
    except OSError as error:
        raise IoError(f"IO error: {target}: {error.strerror}") from error
    os.close(file)
    try:
        await _look(Order("copy", image, path, name))
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


async def _look(order: Order) -> str:
    command = (*_private(), sys.executable, "-P", "-m", "openxt_xenmgr.host.inspector", order.text())
    told = json.loads(await programs.run(*command, timeout_s=TIMEOUT_S))
    if "error" in told:
        raise _KINDS[told["kind"]](told["error"])
    return str(told["answer"])


def _private() -> tuple[str, ...]:
    """It is told when xenmgr dies; its mounts are its own.  Who is not root becomes so in there alone."""
    alone = () if os.geteuid() == 0 else ("--map-root-user",)
    package = "Debian's util-linux"
    return (
        *(programs.needed("setpriv", package), "--pdeathsig", "TERM"),
        *(programs.needed("unshare", package), "--mount", *alone),
        *propagation(Path("/proc/self/mountinfo").read_text()),
    )


def propagation(mounts: str) -> tuple[str, ...]:
    """Options for unshare: it cannot keep mounts from spreading where `/`, as after chroot, is no mount."""
    is_mount = any(line.split()[4] == "/" for line in mounts.splitlines())
    return () if is_mount else ("--propagation", "unchanged")
