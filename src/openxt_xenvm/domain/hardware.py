# SPDX-License-Identifier: GPL-2.0-or-later
"""What an HVM domain takes from its host: firmware, tables, the program that plays its hardware.  Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from openxt_xenvm.config.model import DomainConfig


@dataclass(frozen=True, slots=True)
class Firmware:
    """Files of dom0."""

    loader: str  # hvmloader
    bios: str


@dataclass(frozen=True, slots=True)
class Hardware:
    """`model` is the command that starts the device model; empty: the domain has none of ours."""

    firmware: Firmware
    model: tuple[str, ...] = ()
    has_agents: bool = False  # dm-agents play it, in place of `model`
    nic_model: str = ""  # of cards that name none; empty: the device model's own choice
    is_direct: bool = False  # the config's kernel is a guest's, which the device model loads
    acpi_table: bytes = b""
    smbios: bytes = b""
    vendor: str = ""  # of the processors, as CPUID says it


OEM_TYPES_FROM = 128
PASSED_TYPES = (0, 1, 2, 3, 11, 22, 39)
"""BIOS, system, board, chassis, OEM strings, battery, power supply.  Source: OpenXT xenops, 2015."""

_HEADER = 4  # type, length, handle
_END = b"\0\0"


def smbios_module(tables: bytes, oem_types: frozenset[int]) -> bytes:
    """The host's structures that a guest may see, as hvmloader wants them: each after its length.

    The first of each of PASSED_TYPES, and those of manufacturers: all, or those of `oem_types` if it has any.
    """
    module, seen = b"", set[int]()
    for kind, structure in _structures(tables):
        is_oem = kind >= OEM_TYPES_FROM and (not oem_types or kind in oem_types)
        if is_oem or (kind in PASSED_TYPES and kind not in seen):
            seen.add(kind)
            module += len(structure).to_bytes(4, "little") + structure
    return module


def _structures(tables: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and bytes, the strings behind it and their end included.  Stops where it makes no sense."""
    at = 0
    while at + _HEADER <= len(tables):
        kind, length = tables[at], tables[at + 1]
        end = tables.find(_END, at + length)
        if length < _HEADER or end < 0:
            return
        end += len(_END)
        yield kind, tables[at:end]
        at = end


def oem_types(config: DomainConfig) -> frozenset[int]:
    """The numbers in `smbios-oem-types-pt`; what is no number is passed over (`mistakes` tells of it)."""
    words = (word.strip() for word in config.smbios_oem_types_pt.split(","))
    return frozenset(int(word) for word in words if word.isascii() and word.isdecimal())


def mistakes(config: DomainConfig) -> Iterator[str]:
    for word in filter(None, (word.strip() for word in config.smbios_oem_types_pt.split(","))):
        if not word.isdecimal() or not OEM_TYPES_FROM <= int(word) <= 255:
            yield f"smbios-oem-types-pt: {word[:60]!r} is not a type number from {OEM_TYPES_FROM} to 255"
