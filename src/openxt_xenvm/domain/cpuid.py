# SPDX-License-Identifier: GPL-2.0-or-later
"""DomainConfig → the CPUID masks that Xen is given.  Pure.

Keys of the config come first, its `cpuid` lines win bit by bit.
Source: CPUID of Intel and AMD; Xen 4.17, which numbers APICs 2 · vcpu.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import DomainConfig

Place: TypeAlias = tuple[int, int | None]
Masks: TypeAlias = tuple[str | None, ...]

BITS = 32
DEFAULT = "x"
INTEL = "GenuineIntel"

EAX, EBX, ECX, EDX = range(4)
NX = (0x8000_0001, EDX, 20)
HTT = (1, EDX, 28)
CACHE_LEVELS = 4  # that a processor may tell of


def overrides(config: DomainConfig, vendor: str = "") -> dict[Place, Masks]:
    """Per leaf and subleaf the four masks.  `vendor` is the host's."""
    found: dict[Place, Masks] = {}
    if config.kind is Kind.HVM:
        for place, masks in _of_keys(config, vendor):
            found[place] = _over(found.get(place), masks)
    for line in config.cpuid:
        place = (line.leaf, line.subleaf)
        found[place] = _over(found.get(place), line.masks)
    return found


def _of_keys(config: DomainConfig, vendor: str) -> Iterator[tuple[Place, Masks]]:
    if not config.nx:
        leaf, register, bit = NX
        yield (leaf, None), _masks(register, field(bit, 1, 0))
    cores = config.cores_per_socket or 1
    if cores > 1:
        yield from _topology(cores, vendor)


def _topology(cores: int, vendor: str) -> Iterator[tuple[Place, Masks]]:
    """APIC ids are even, so that a socket has two for each core."""
    leaf, register, bit = HTT
    yield (leaf, None), _masks(register, field(bit, 1, 1))
    yield (leaf, None), _masks(EBX, field(16, 8, min(2 * cores, 255)))
    if vendor == INTEL:
        for level in range(CACHE_LEVELS):
            yield (4, level), _masks(EAX, field(26, 6, min(2 * cores - 1, 63)))
    else:
        yield (0x8000_0008, None), _masks(ECX, field(0, 8, min(2 * cores - 1, 255)))


def field(low: int, width: int, value: int) -> str:
    """A mask that fixes `width` bits from bit `low` on."""
    above = DEFAULT * (BITS - low - width)
    return f"{above}{value:0{width}b}{DEFAULT * low}"


def _masks(register: int, mask: str) -> Masks:
    return tuple(mask if number == register else None for number in range(4))


def _over(before: Masks | None, after: Sequence[str | None]) -> Masks:
    """What `after` leaves open is taken from `before`."""
    if before is None:
        return tuple(after)
    return tuple(_merged(old, new) for old, new in zip(before, after, strict=True))


def _merged(old: str | None, new: str | None) -> str | None:
    if old is None or new is None:
        return new if old is None else old
    return "".join(below if above == DEFAULT else above for below, above in zip(old, new, strict=True))
