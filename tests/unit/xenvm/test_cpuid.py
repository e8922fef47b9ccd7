# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUID masks, and the firmware tables that are passed on."""

import pytest

from openxt_xenvm.config.parse import parse_config
from openxt_xenvm.domain import cpuid
from openxt_xenvm.domain.hardware import mistakes, oem_types, smbios_module

HVM = "hvm = true\nnx = true\n"
ANY = "x" * 32


def masks(lines: str, vendor: str = "") -> dict[cpuid.Place, cpuid.Masks]:
    return cpuid.overrides(parse_config(HVM + lines).config, vendor)


def test_a_field_fixes_its_bits_and_no_others() -> None:
    assert cpuid.field(0, 1, 1) == "x" * 31 + "1"
    assert cpuid.field(28, 4, 5) == "0101" + "x" * 28


def test_without_nx_its_bit_is_hidden() -> None:
    assert masks("") == {}
    hidden = cpuid.overrides(parse_config("hvm = true").config)
    assert hidden == {(0x80000001, None): (None, None, None, "x" * 11 + "0" + "x" * 20)}
    assert cpuid.overrides(parse_config("hvm = false").config) == {}


def test_cores_are_told_in_the_words_of_the_hosts_vendor() -> None:
    intel, amd = masks("cores-per-socket = 2", "GenuineIntel"), masks("cores-per-socket = 2", "AuthenticAMD")
    assert intel[1, None] == amd[1, None] == (None, cpuid.field(16, 8, 4), None, cpuid.field(28, 1, 1))
    assert {place for place in intel if place[0] == 4} == {(4, level) for level in range(4)}
    assert intel[4, 0][0] == cpuid.field(26, 6, 3)
    assert amd[0x80000008, None] == (None, None, cpuid.field(0, 8, 3), None)
    assert masks("cores-per-socket = 1") == {}


def test_a_line_of_the_config_wins_bit_by_bit() -> None:
    one = "x" * 31 + "1"
    found = masks(f"cores-per-socket = 2\ncpuid = 1:edx={one}")
    assert found[1, None][3] == "xxx1" + "x" * 27 + "1"


def structure(kind: int, text: bytes = b"") -> bytes:
    return bytes([kind, 4, 0, 0]) + (text + b"\0\0" if text else b"\0\0")


def test_only_known_structures_and_manufacturers_pass_each_with_its_length() -> None:
    bios, other, oem, end = structure(0, b"v"), structure(8), structure(200), structure(127)
    module = smbios_module(bios + bios + other + oem + end, frozenset())
    assert module == len(bios).to_bytes(4, "little") + bios + len(oem).to_bytes(4, "little") + oem


def test_manufacturers_structures_are_chosen_by_number() -> None:
    tables = structure(128) + structure(129)
    assert smbios_module(tables, frozenset({129})) == b"\6\0\0\0" + structure(129)
    config = parse_config("smbios-oem-types-pt = 129, 130").config
    assert oem_types(config) == {129, 130}
    assert list(mistakes(config)) == []
    assert len(list(mistakes(parse_config("smbios-oem-types-pt = 12,x").config))) == 2


@pytest.mark.parametrize("tables", [b"", b"\0", b"\0\1\0\0", structure(0)[:-1], b"\xff" * 40])
def test_tables_that_make_no_sense_give_nothing(tables: bytes) -> None:
    assert smbios_module(tables, frozenset()) == b""
