# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain's memory and vcpus to a file descriptor and back, by libxenguest's migration stream version 2.

Knows nothing of files, xenstore or devices: whoever calls gives an open descriptor and asks the guest to
suspend when told.  What makes the callbacks sound: the library calls them only while the call that got
them runs, in the same thread, and `_Talk` with its handle lives as long as that call.
Source: xenguest.h, tools/libs/guest (4.17).
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from openxt_core.ids import DOM0, Domid
from openxt_xen.hypervisor import Rings, SaveTalk, XenError
from openxt_xen.libxc_calls import Calls

T = TypeVar("T")

_NO_DESCRIPTOR = -1
_FAILED, _DONE = 0, 1


@dataclass
class _Talk:
    """What the library asks while it saves.  An exception must not pass through C: it is kept for later."""

    asked: SaveTalk
    failures: list[BaseException] = field(default_factory=list)

    def suspend(self) -> int:
        return _DONE if self._answer(self.asked.suspend) else _FAILED

    def log_dirty(self, enable: bool) -> int:
        self._answer(lambda: self.asked.log_dirty(enable))
        return -1 if self.failures else 0

    def _answer(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it goes on when C has returned
            self.failures.append(error)
            return None


def save(calls: Calls, domid: Domid, descriptor: int, talk: SaveTalk, *, live: bool) -> None:
    """Write the stream.  Raises XenError, or what `talk` raised."""
    _answer_callbacks(calls)
    kept = _Talk(talk)
    data = calls.ffi.new_handle(kept)
    callbacks = calls.ffi.new("struct save_callbacks *")  # zero-filled: every other callback is optional
    callbacks.suspend = calls.lib.openxt_suspend
    callbacks.switch_qemu_logdirty = calls.lib.openxt_log_dirty  # the library aborts without it
    callbacks.data = data
    flags = calls.lib.XCFLAGS_LIVE if live else 0
    stream = calls.lib.XC_STREAM_PLAIN
    try:
        calls.number(
            "xc_domain_save", calls.handle, descriptor, domid, flags, callbacks, stream, _NO_DESCRIPTOR
        )
    except XenError:
        if kept.failures:
            raise kept.failures[0] from None
        raise


def restore(calls: Calls, domid: Domid, descriptor: int, store_port: int, console_port: int) -> Rings:
    """Read the stream into an empty domain.  Raises XenError EINVAL for bytes that are none."""
    store, console = (calls.ffi.new("unsigned long *") for _ in range(2))
    callbacks = calls.ffi.new("struct restore_callbacks *")  # all optional, but the structure itself is not
    calls.number(
        "xc_domain_restore", calls.handle, descriptor, domid, store_port, store, DOM0, console_port, console,
        DOM0, calls.lib.XC_STREAM_PLAIN, callbacks, _NO_DESCRIPTOR, unknown=errno.EINVAL,
    )  # fmt: skip
    return Rings(store=int(store[0]), console=int(console[0]))


def _answer_callbacks(calls: Calls) -> None:
    """Tie C's names to Python; again and again changes nothing."""

    def suspend(data: Any) -> int:
        return int(calls.ffi.from_handle(data).suspend())

    def log_dirty(_domid: int, enable: int, data: Any) -> int:
        return int(calls.ffi.from_handle(data).log_dirty(bool(enable)))

    calls.ffi.def_extern(name="openxt_suspend", error=_FAILED)(suspend)
    calls.ffi.def_extern(name="openxt_log_dirty", error=-1)(log_dirty)
