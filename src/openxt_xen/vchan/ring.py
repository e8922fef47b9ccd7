# SPDX-License-Identifier: GPL-2.0-or-later
"""One vchan: two byte rings in pages that a domain shares with us, and an event channel.

Only this file calls libxenvchan.  Knows neither asyncio nor who wants the bytes.  What the other domain
writes into the shared page can at worst lock up its own ring: the library read the rings' sizes once, and
counts an index beyond them as "nothing there".  Source: libxenvchan.h, xen/io/libxenvchan.h (4.17).
"""

import os
from pathlib import Path
from typing import Any, Protocol

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid

READ_BYTES = 32 * 1024


class Ring(Protocol):
    """What a pipe needs of a vchan.  Nothing here blocks."""

    def fileno(self) -> int:
        """Readable when the state has changed, until `acknowledge`."""
        ...

    def acknowledge(self) -> None:
        """Only when the file is readable: it would block otherwise."""
        ...

    def read(self) -> bytes:
        """What is there, at most so much; empty when nothing is, and then more will be signalled."""
        ...

    def write(self, data: memoryview) -> int:
        """How much of it went; when not all did, room will be signalled."""
        ...

    @property
    def is_open(self) -> bool:
        """False once the other side is gone.  What it wrote before can still be read."""
        ...

    @property
    def is_joined(self) -> bool:
        """True while both sides are there; an offer is joined when the other side has accepted it."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the larger ring."""
        ...

    def close(self) -> None: ...


class XenRing:
    """Fulfils `Ring` by libxenvchan.  Making one blocks for a few questions to xenstored."""

    def __init__(self, native: Any, channel: Any) -> None:
        self._ffi, self._lib = native.ffi, native.lib
        self._channel = channel
        self._incoming = self._ffi.new("char[]", READ_BYTES)

    @classmethod
    def accept(cls, domid: Domid, path: str) -> "XenRing":
        """Join what `domid` offers below `path`.  Raises Unavailable when that is no sound offer."""
        native = _native_module()
        channel = native.lib.libxenvchan_client_init(native.ffi.NULL, domid, path.encode())
        return cls._of(native, channel, f"domain {domid} offers no vchan at {path}")

    @classmethod
    def offer(cls, domid: Domid, path: str, size: int) -> "XenRing":
        """Share rings of `size` bytes each way with `domid`, and say so below `path`.  Raises Unavailable."""
        native = _native_module()
        channel = native.lib.libxenvchan_server_init(native.ffi.NULL, domid, path.encode(), size, size)
        return cls._of(native, channel, f"no vchan can be offered to domain {domid} at {path}")

    @classmethod
    def _of(cls, native: Any, channel: Any, complaint: str) -> "XenRing":
        if channel == native.ffi.NULL:
            raise Unavailable(f"{complaint}: {os.strerror(native.ffi.errno)}")
        native.lib.openxt_vchan_never_block(channel)
        return cls(native, channel)

    @property
    def size(self) -> int:
        return int(self._lib.openxt_vchan_ring_bytes(self._channel))

    def fileno(self) -> int:
        return int(self._lib.libxenvchan_fd_for_select(self._channel))

    def acknowledge(self) -> None:
        self._lib.libxenvchan_wait(self._channel)

    def read(self) -> bytes:
        count = self._lib.libxenvchan_read(self._channel, self._incoming, READ_BYTES)
        return bytes(self._ffi.buffer(self._incoming, count)) if count > 0 else b""

    def write(self, data: memoryview) -> int:
        with self._ffi.from_buffer(data) as source:
            return max(0, int(self._lib.libxenvchan_write(self._channel, source, len(data))))

    @property
    def is_open(self) -> bool:
        return bool(self._lib.libxenvchan_is_open(self._channel))

    @property
    def is_joined(self) -> bool:
        return int(self._lib.libxenvchan_is_open(self._channel)) == 1

    def close(self) -> None:
        """Once: tells the other side, gives the pages back."""
        self._lib.libxenvchan_close(self._channel)
        self._channel = self._ffi.NULL


def check_host() -> None:
    """Raises Unavailable when this host cannot do vchans, and says what is missing."""
    _native_module()
    for device, module in (("gntdev", "xen-gntdev"), ("evtchn", "xen-evtchn")):
        if not Path("/dev/xen", device).exists():
            raise Unavailable(f"vchans need /dev/xen/{device}: load the kernel module {module} on a Xen host")


def _native_module() -> Any:
    """Imported late: everything but vchans works without it."""
    try:
        import _xenvchan_cffi
    except ImportError as missing:
        raise Unavailable(
            f"vchans need _xenvchan_cffi ({missing}): install the Debian package libxen-dev, "
            "then run native/xenctrl_cffi/build.py; or use UNIX sockets: OPENXT_V4V=unix"
        ) from missing
    return _xenvchan_cffi
