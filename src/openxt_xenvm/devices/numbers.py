# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of virtual disks ↔ the numbers by which frontends know them.  Pure.

Source: Linux's device numbers, and OpenXT xenops, 2015, which has none of Xen's extended ones.
"""

import re
from dataclasses import dataclass

_NAME = re.compile(r"(hd|sd|xvd)([a-t])([0-9]{0,2})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Series:
    """Disks of one prefix: how many minors each has, and the majors that they fill one after the other."""

    majors: tuple[int, ...]
    minors_each: int
    disks: int

    @property
    def disks_each(self) -> int:
        return self.disks // len(self.majors)


SERIES = {
    "sd": Series((8,), 16, 16),
    "xvd": Series((202,), 16, 16),
    "hd": Series((3, 22, 33, 34, 56, 57, 88, 89, 90, 91), 64, 20),
}


def device_number(virtpath: str) -> int:
    """256 · major + minor, or the decimal number that `virtpath` is.  Raises ValueError."""
    if virtpath.isascii() and virtpath.isdecimal():
        return int(virtpath)
    match = _NAME.match(virtpath.removeprefix("/dev/"))
    if match is None:
        raise ValueError(f"{virtpath[:60]!r} is not a virtual disk name")
    prefix, letter, digits = match.groups()
    series, index, partition = SERIES[prefix], ord(letter) - ord("a"), int(digits or "0")
    if index >= series.disks or partition >= series.minors_each:
        raise ValueError(f"there is no virtual disk {virtpath!r}")
    major = series.majors[index // series.disks_each]
    return 256 * major + series.minors_each * (index % series.disks_each) + partition
