# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's merging of equal pages, as the tests of monitors' memory see it."""

from pathlib import Path

KERNEL = Path("/sys/kernel/mm/ksm")
PASSES = 12  # after so many it has merged what it can: it skips up to 8 where it found nothing so far
MERGED_KIB = 4 * 1024
"""What a monitor may then have of its own."""


def passes() -> int:
    """So far; the kernel tells nobody, so one has to ask again."""
    return int((KERNEL / "full_scans").read_text())


def rollup(pid: int) -> dict[str, int]:
    """Figures of a process's memory, KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): int(kib) for name, kib, _ in map(str.split, lines)}


def private_kib(pid: int) -> int:
    """What no other process shares with it."""
    found = rollup(pid)
    return found["Private_Clean"] + found["Private_Dirty"]
