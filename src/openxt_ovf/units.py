# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of a descriptor, and units of capacities and memory: text → bytes.  Pure.

    programmatic   byte, byte * 2^20, byte*10^9, byte * 1024 * 1024
    words          MegaBytes, MB, KiB, GigaBytes…: powers of 1024, as those who write them mean

Source: DMTF DSP0004 annex C.1 (programmatic units).  The words are of exports that are older than it.
"""

import re

from openxt_core.errors import BadRequest

MIB = 1 << 20
MAX_BYTES = 1 << 63

_FACTOR = re.compile(r"(?P<base>[0-9]{1,19})(?:\^(?P<exponent>[0-9]{1,2}))?\Z")
_WORD = re.compile(r"(?P<prefix>kilo|mega|giga|tera|ki?|mi?|gi?|ti?)?b(?:ytes?)?\Z", re.IGNORECASE)
_PREFIXES = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def bytes_per_unit(text: str) -> int:
    """How many bytes one unit is.  Raises BadRequest for what is no unit of bytes."""
    plain = "".join(text.split())
    word = _WORD.match(plain)
    if word is not None:
        return 1 << _PREFIXES[(word["prefix"] or "")[:1].lower()]
    unit, *factors = plain.split("*")
    if unit.lower() not in ("byte", "bytes"):
        raise BadRequest(f"{text[:40]!r} is no unit of bytes, such as 'byte * 2^20'")
    product = 1
    for factor in factors:
        product *= _number(factor, text)
        if product > MAX_BYTES:
            raise BadRequest(f"the unit {text[:40]!r} is too large")
    return product


def _number(factor: str, text: str) -> int:
    found = _FACTOR.match(factor)
    if found is None or int(found["base"]) == 0:
        raise BadRequest(f"cannot read {factor[:20]!r} in the unit {text[:40]!r}")
    power: int = int(found["base"]) ** int(found["exponent"] or 1)
    return power


def size_bytes(number: int, unit: str) -> int:
    """Raises BadRequest when it is negative, or more than any computer counts."""
    found = number * bytes_per_unit(unit)
    if not 0 <= found <= MAX_BYTES:
        raise BadRequest(f"a size of {number} x {unit[:40]!r} cannot be")
    return found


def whole_number(text: str, what: str, largest: int = MAX_BYTES - 1) -> int | None:
    """None when it is not given.  Raises BadRequest for anything but digits, and beyond the largest."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > largest:
        raise BadRequest(f"{what} cannot be {text[:40]!r}: a whole number is expected")
    return int(text)


def mib(size: int) -> int:
    """Bytes as MiB, rounded up."""
    return -(-size // MIB)
