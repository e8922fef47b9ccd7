# SPDX-License-Identifier: GPL-2.0-or-later
"""What is the same in all monitors may be in memory once: the kernel's same-page merging, KSM.

Offers what this process has written so far, and so what its forks get of it.  What they start by exec is
left out: no device model's memory is compared with another's.  The kernel looks at nothing that was not
offered, so switching it on touches no other process of the host.  Switched off it is never, and how fast it
works is left to the host: others may use it.  Source: madvise(2), Linux' admin-guide/mm/ksm.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from mmap import MADV_MERGEABLE
from pathlib import Path
from typing import Final

KERNEL: Final = Path("/sys/kernel/mm/ksm")
OFF, ON = "0", "1"
"""Of `run`; 0 is what a kernel boots with.  2: what was merged is taken apart, which somebody chose."""


def offer_own_pages() -> None:
    """Raises OSError: this kernel cannot merge."""
    libc = ctypes.CDLL(None, use_errno=True)
    for start, end in private_ranges(Path("/proc/self/maps").read_text()):
        if libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_MERGEABLE):
            number = ctypes.get_errno()
            raise OSError(number, "no KSM in this kernel" if number == errno.EINVAL else os.strerror(number))


def switch_on(folder: Path = KERNEL) -> str:
    """The kernel merges from now on, unless somebody chose otherwise; which of it is so, as words of a log.

    Raises OSError: it cannot, or we may not.
    """
    run = folder / "run"
    found = run.read_text().strip()
    if found == OFF:
        run.write_text(f"{ON}\n")
        return "switched on"
    return "on already" if found == ON else f"left off: {run} is {found}"


def private_ranges(maps: str) -> Iterator[tuple[int, int]]:
    """Start and end of what only this process can write, as `/proc/PID/maps` has it."""
    for line in maps.splitlines():
        addresses, access, _ = line.split(maxsplit=2)
        if access == "rw-p":
            start, _, end = addresses.partition("-")
            yield int(start, 16), int(end, 16)
