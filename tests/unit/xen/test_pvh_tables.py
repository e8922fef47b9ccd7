# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory layout and ACPI tables of PVH guests, read back as a guest would."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_xen.pvh_tables import (
    FOUR_GIB,
    HOLE_START,
    SPECIAL_ADDRESS,
    TABLES_ADDRESS,
    AcpiTables,
    RegionKind,
    acpi_tables,
    memory_layout,
    memory_map,
)

HEADER = struct.Struct("<4sIBB6s8sI4sI")


def table_at(tables: AcpiTables, address: int) -> tuple[bytes, bytes]:
    """Signature and whole table, found by its guest address."""
    start = address - TABLES_ADDRESS
    signature, length, *_ = HEADER.unpack_from(tables.tables, start)
    return signature, tables.tables[start : start + length]


def xsdt_entries(tables: AcpiTables) -> tuple[int, ...]:
    (xsdt_address,) = struct.unpack_from("<Q", tables.root_pointer, 24)
    signature, xsdt = table_at(tables, xsdt_address)
    assert signature == b"XSDT"
    return tuple(address for (address,) in struct.iter_unpack("<Q", xsdt[HEADER.size :]))


def tables_by_name(tables: AcpiTables) -> dict[bytes, bytes]:
    found = dict(table_at(tables, address) for address in xsdt_entries(tables))
    (dsdt_address,) = struct.unpack_from("<Q", found[b"FACP"], 140)
    signature, dsdt = table_at(tables, dsdt_address)
    return {**found, signature: dsdt}


@given(vcpus=st.integers(1, 128))
def test_every_table_and_both_parts_of_the_root_pointer_add_up_to_zero(vcpus: int) -> None:
    tables = acpi_tables(vcpus)
    for blob in (*tables_by_name(tables).values(), tables.root_pointer[:20], tables.root_pointer):
        assert sum(blob) % 256 == 0


def test_the_root_pointer_leads_to_fadt_madt_and_dsdt() -> None:
    tables = acpi_tables(1)
    assert tables.root_pointer[:8] == b"RSD PTR "
    assert len(tables.root_pointer) == 36
    assert set(tables_by_name(tables)) == {b"FACP", b"APIC", b"DSDT"}


@pytest.mark.parametrize("vcpus", [1, 2, 7, 128])
def test_each_vcpu_has_an_enabled_apic_with_twice_its_number_as_id(vcpus: int) -> None:
    madt = tables_by_name(acpi_tables(vcpus))[b"APIC"]
    apics = list(struct.iter_unpack("<BBBBI", madt[HEADER.size + 8 :]))
    assert apics == [(0, 8, vcpu, 2 * vcpu, 1) for vcpu in range(vcpus)]


def test_the_fadt_says_hardware_reduced_and_no_legacy_devices() -> None:
    fadt = tables_by_name(acpi_tables(1))[b"FACP"]
    assert len(fadt) == 268
    (boot_architecture,) = struct.unpack_from("<H", fadt, 109)
    (flags,) = struct.unpack_from("<I", fadt, 112)
    assert flags & 1 << 20
    assert boot_architecture & 0b11 == 0


@given(vcpus=st.integers(1, 128))
def test_tables_are_whole_pages_and_the_root_pointer_follows_them(vcpus: int) -> None:
    tables = acpi_tables(vcpus)
    assert len(tables.tables) % 4096 == 0
    assert tables.root_pointer_address == TABLES_ADDRESS + len(tables.tables)
    assert tables.size == len(tables.tables) + 4096


@given(memory_kib=st.integers(4, 64 << 20).map(lambda pages: pages * 4))
def test_no_memory_is_lost_at_the_hole(memory_kib: int) -> None:
    layout = memory_layout(memory_kib)
    high = layout.high_end - FOUR_GIB if layout.high_end else 0
    assert layout.low_end + high == memory_kib * 1024
    assert layout.low_end <= HOLE_START


def test_memory_that_just_fits_below_the_hole_has_no_high_part() -> None:
    assert memory_layout(HOLE_START // 1024).high_end == 0
    assert memory_layout(HOLE_START // 1024 + 4).high_end == FOUR_GIB + 4096


@given(memory_kib=st.integers(1, 16 << 20), vcpus=st.integers(1, 128))
def test_regions_are_in_order_and_do_not_overlap(memory_kib: int, vcpus: int) -> None:
    regions = memory_map(memory_layout(memory_kib), acpi_tables(vcpus))
    ends = [region.address + region.size for region in regions]
    assert all(end <= after.address for end, after in zip(ends, regions[1:], strict=False))
    assert all(region.size > 0 for region in regions)


def test_the_builders_own_pages_are_reserved_even_without_acpi() -> None:
    regions = memory_map(memory_layout(8192), None)
    assert [(r.address, r.kind) for r in regions] == [
        (0, RegionKind.RAM),
        (SPECIAL_ADDRESS, RegionKind.RESERVED),
    ]
