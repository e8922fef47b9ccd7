# SPDX-License-Identifier: GPL-2.0-or-later
"""What is the same in all monitors may be in memory once: the kernel's same-page merging, KSM.

Offers what this process has written so far, and so what its forks get of it.  What they start by exec is
left out: no device model's memory is compared with another's.  Whether and how fast the kernel merges what it
is offered is the host's choice, `/sys/kernel/mm/ksm`.  Source: madvise(2).
"""

import ctypes
import os
from collections.abc import Iterator
from mmap import MADV_MERGEABLE
from pathlib import Path
from typing import Final

KERNEL: Final = Path("/sys/kernel/mm/ksm")


def offer_own_pages() -> None:
    """Raises OSError: this kernel cannot merge."""
    libc = ctypes.CDLL(None, use_errno=True)
    for start, end in private_ranges(Path("/proc/self/maps").read_text()):
        if libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_MERGEABLE):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def switch_on(folder: Path = KERNEL) -> None:
    """The kernel merges from now on what anybody offers, at its own pace.  Raises OSError."""
    run = folder / "run"
    if run.read_text().strip() != "1":
        run.write_text("1\n")


def private_ranges(maps: str) -> Iterator[tuple[int, int]]:
    """Start and end of what only this process can write, as `/proc/PID/maps` has it."""
    for line in maps.splitlines():
        addresses, access, _ = line.split(maxsplit=2)
        if access == "rw-p":
            start, _, end = addresses.partition("-")
            yield int(start, 16), int(end, 16)
