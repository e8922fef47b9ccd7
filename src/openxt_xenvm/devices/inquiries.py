# SPDX-License-Identifier: GPL-2.0-or-later
"""What a SCSI disk of the host says of itself, as a guest is to read it.  Pure.

A translation before an ATA disk names `ATA` as its vendor, and as its product what fits of the model.  The
whole model is in page 0x83; guests find as much of it as both fields together hold.
Sources: SPC-3, 6.4.2 and 7.6.3; SAT; Linux, drivers/ata/libata-scsi.c; OpenXT xenops, 2015.
"""

from collections.abc import Iterator

ATA = b"ATA".ljust(8)
VENDOR, NAME = slice(8, 16), slice(8, 32)  # of the standard data; the product is behind the vendor
MODEL = slice(8, 48)  # of the designator
PAGE_HEADER = DESIGNATOR_HEADER = 4
OF_VENDOR = 0x01  # of the disk itself, beginning with a vendor's name


def whole_name(standard: bytes, page_83: bytes) -> bytes:
    """The standard data; of an ATA disk with its model in place of vendor and product, if there is one."""
    if standard[VENDOR] != ATA:
        return standard
    models = (found[MODEL].strip() for found in _designators(page_83) if found.startswith(ATA))
    model = next(filter(None, models), b"")
    size = NAME.stop - NAME.start
    return standard[: NAME.start] + model[:size].ljust(size) + standard[NAME.stop :] if model else standard


def _designators(page: bytes) -> Iterator[bytes]:
    """Those of vendors.  Stops where it makes no sense."""
    end = min(len(page), PAGE_HEADER + int.from_bytes(page[2:4], "big"))
    at = PAGE_HEADER
    while at + DESIGNATOR_HEADER <= end:
        kind, length = page[at + 1], page[at + 3]
        at += DESIGNATOR_HEADER
        if kind & 0x3F == OF_VENDOR and at + length <= end:
            yield page[at : at + length]
        at += length
