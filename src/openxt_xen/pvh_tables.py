# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a PVH guest's memory lies, and the ACPI tables it finds there.  Pure: sizes in, bytes out.

A PVH guest has no firmware: whoever builds it must bring the tables, else Linux sees one vcpu and cannot
power off.  They describe hardware-reduced ACPI with nothing but processors in it, and are put at the
start of the hole below 4 GiB, followed by the root pointer on a page of its own.
Source: ACPI specification 5.1, chapter 5; memory layout of PVH guests in Xen 4.17 (libxl, xen/arch-x86).
"""

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass

PAGE_SIZE = 4096
FOUR_GIB = 1 << 32

HOLE_START = 0xFC00_0000  # RAM that would lie from here to 4 GiB goes above 4 GiB
TABLES_ADDRESS = HOLE_START
LAPIC_ADDRESS = 0xFEE0_0000

# The builder puts console, xenstore and six other pages here, whatever we say; the guest must not use them.
SPECIAL_PAGES = 8
SPECIAL_ADDRESS = (0xF_F000 - SPECIAL_PAGES) * PAGE_SIZE


class RegionKind(enum.IntEnum):
    """Address range types.  Source: ACPI specification 5.1, table 15-312."""

    RAM = 1
    RESERVED = 2
    ACPI = 3


@dataclass(frozen=True, slots=True)
class Region:
    """One line of the guest's memory map; addresses and sizes in bytes."""

    address: int
    size: int
    kind: RegionKind


@dataclass(frozen=True, slots=True)
class Layout:
    """RAM below and above the hole, each given by where it ends; `high_end` is 0 when all fits below."""

    low_end: int
    high_end: int


@dataclass(frozen=True, slots=True)
class AcpiTables:
    """Two blobs for the guest's memory.  `tables` is whole pages; the root pointer has the page after."""

    tables: bytes
    root_pointer: bytes

    @property
    def root_pointer_address(self) -> int:
        return TABLES_ADDRESS + len(self.tables)

    @property
    def size(self) -> int:
        """Bytes of guest memory that the memory map must set aside."""
        return len(self.tables) + PAGE_SIZE


def memory_layout(memory_kib: int, hole_start: int = HOLE_START) -> Layout:
    """How `memory_kib` of RAM is spread around the hole below 4 GiB."""
    size = memory_kib * 1024
    if size <= hole_start:
        return Layout(size, 0)
    return Layout(hole_start, FOUR_GIB + size - hole_start)


def memory_map(layout: Layout, acpi: AcpiTables | None) -> tuple[Region, ...]:
    """What the guest is told of its memory."""
    regions = [
        Region(0, layout.low_end, RegionKind.RAM),
        Region(SPECIAL_ADDRESS, SPECIAL_PAGES * PAGE_SIZE, RegionKind.RESERVED),
    ]
    if acpi is not None:
        regions.append(Region(TABLES_ADDRESS, acpi.size, RegionKind.ACPI))
    if layout.high_end:
        regions.append(Region(FOUR_GIB, layout.high_end - FOUR_GIB, RegionKind.RAM))
    return tuple(sorted(regions, key=lambda region: region.address))


def acpi_tables(vcpus: int) -> AcpiTables:
    """Tables for a guest of `vcpus` processors."""
    blob = bytearray()
    dsdt = _place(blob, _table(b"DSDT", 2, b""))
    madt = _place(blob, _table(b"APIC", 2, _madt_body(vcpus)))
    fadt = _place(blob, _table(b"FACP", 5, _fadt_body(dsdt)))
    xsdt = _place(blob, _table(b"XSDT", 1, struct.pack("<QQ", fadt, madt)))
    _pad(blob, PAGE_SIZE)
    return AcpiTables(bytes(blob), _root_pointer(xsdt))


_OEM = b"OPENXT"
_OEM_TABLE = b"PVHGUEST"
_CREATOR = b"OXT "

_CHECKSUM_OFFSET = 9  # in every table's header


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    length = struct.calcsize("<4sIBB6s8sI4sI") + len(body)
    header = struct.pack("<4sIBB6s8sI4sI", signature, length, revision, 0, _OEM, _OEM_TABLE, 1, _CREATOR, 1)
    return _with_checksum(header + body, _CHECKSUM_OFFSET)


def _with_checksum(data: bytes, offset: int) -> bytes:
    """`data` with the byte at `offset` (0 before) such that all bytes add up to 0 modulo 256."""
    return data[:offset] + bytes([-sum(data) & 0xFF]) + data[offset + 1 :]


def _place(blob: bytearray, table: bytes) -> int:
    """Append a table where it is aligned; returns its guest address."""
    _pad(blob, 16)
    address = TABLES_ADDRESS + len(blob)
    blob += table
    return address


def _pad(blob: bytearray, alignment: int) -> None:
    blob += bytes(-len(blob) % alignment)


def _madt_body(vcpus: int) -> bytes:
    """Local APICs, all enabled.  Xen 4.17 gives vcpu N the APIC id 2 N."""
    head = struct.pack("<II", LAPIC_ADDRESS, 0)
    return head + b"".join(struct.pack("<BBBBI", 0, 8, vcpu, 2 * vcpu, 1) for vcpu in range(vcpus))


_FADT_LENGTH = 268  # revision 5
_HEADER_LENGTH = 36

# Boot architecture: no VGA, no MSI, no CMOS clock; the clear bits 0 and 1 say no legacy devices and no 8042.
_BOOT_ARCHITECTURE = 1 << 2 | 1 << 3 | 1 << 5
# Flags: WBINVD works, C1 on all processors, no fixed power or sleep button, hardware-reduced ACPI.
_FADT_FLAGS = 1 << 0 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 20


def _fadt_body(dsdt: int) -> bytes:
    """All zero but these: a hardware-reduced machine has none of the registers."""
    fields: Sequence[tuple[int, str, int]] = (
        # offset in table, format, value
        (40, "<I", dsdt),
        (46, "<H", 9),  # SCI interrupt, as on a PC
        (109, "<H", _BOOT_ARCHITECTURE),
        (112, "<I", _FADT_FLAGS),
        (140, "<Q", dsdt),
    )
    table = bytearray(_FADT_LENGTH)
    for offset, form, value in fields:
        struct.pack_into(form, table, offset, value)
    return bytes(table[_HEADER_LENGTH:])


def _root_pointer(xsdt: int) -> bytes:
    """RSDP of revision 2: one checksum over the first 20 bytes, one over all 36."""
    pointer = struct.pack("<8sB6sBIIQB3s", b"RSD PTR ", 0, _OEM, 2, 0, 36, xsdt, 0, bytes(3))
    return _with_checksum(_with_checksum(pointer[:20], 8) + pointer[20:], 32)
