# SPDX-License-Identifier: GPL-2.0-or-later
"""One handle on libxenctrl, and the rule by which a failed call becomes an error.

Knows no particular call: `libxc` and `libxc_image` name them.  What makes calls through here sound:

* errno and the libraries' messages belong to the thread that called, and both are read in it: cffi keeps
  errno as the call left it, so no system call of the interpreter can change it before we look;
* a handle's memory is not inherited by a forked child, so a child that tries to use it is refused;
* closing waits for no call in flight: the owner closes when its worker thread is done.
"""

import errno
import os
from typing import Any

from openxt_xen.hypervisor import XenError


class Calls:
    """Calls into the compiled module; `ffi` and `lib` are the module's own."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        """Opens the handle.  Raises XenError where there is no Xen, or it is not ours to command."""
        self.ffi = ffi
        self.lib = lib
        logger = lib.openxt_logger()  # static in C: outlives every handle
        self._handle = self.pointer("xc_interface_open", logger, logger, 0)
        self._process = os.getpid()

    @property
    def handle(self) -> Any:
        """The open xc_interface.  Raises XenError EBADF after close, and in a forked child."""
        if self._handle == self.ffi.NULL:
            raise XenError("xc_interface", errno.EBADF, "the handle is closed")
        if self._process != os.getpid():
            raise XenError("xc_interface", errno.EBADF, "the handle belongs to the parent process")
        return self._handle

    def close(self) -> None:
        """Give the handle back; closing twice, or in a forked child, does nothing."""
        handle, self._handle = self._handle, self.ffi.NULL
        if handle != self.ffi.NULL and self._process == os.getpid():
            self.lib.xc_interface_close(handle)

    def number(self, name: str, *arguments: Any, unknown: int = 0) -> int:
        """Call `name`; what it returns is 0 or more.  Raises XenError with its errno and messages.

        A failure of which the library does not say the errno gets `unknown`.
        """
        result = int(self._call(name, arguments))
        if result < 0:
            # Some calls return a negative errno instead of setting it; -1 says nothing.
            raise self._error(name, unknown if result == -1 else -result)
        return result

    def pointer(self, name: str, *arguments: Any) -> Any:
        """Call `name`; what it returns is not NULL.  Raises XenError with its errno and messages."""
        result = self._call(name, arguments)
        if result == self.ffi.NULL:
            raise self._error(name, unknown=0)
        return result

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        function = getattr(self.lib, name)
        self.lib.openxt_messages_clear()
        self.ffi.errno = 0  # some calls fail without setting it: 0 then says "unknown", not the last failure
        try:
            return function(*arguments)
        except OverflowError as error:  # before the call: a number that does not fit the C type
            raise XenError(name, errno.EINVAL, str(error)) from error

    def _error(self, name: str, unknown: int) -> XenError:
        number = self.ffi.errno or unknown
        messages = self.ffi.string(self.lib.openxt_messages()).decode(errors="replace")
        return XenError(name, number, "; ".join(messages.splitlines()))
