# SPDX-License-Identifier: GPL-2.0-or-later
"""Network cards of one VM made complete: ids, order, hardware addresses, bridges.  Pure.

A VM's addresses must be the same at each boot, so they are derived from its uuid.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from openxt_xenvm.config.model import Nic

MAX_NICS = 32
XEN_OUI = bytes((0x00, 0x16, 0x3E))

_DIGEST_PAIRS = (0, 2, 1, 7, 6, 4)
"""Which characters of the hex digest make the six bytes: character i and character i + 12."""


class NicClash(ValueError):
    """Two cards with one id, or an id out of range: such a config cannot be used at all."""


@dataclass(frozen=True)
class HostNet:
    """What of the host decides about a card."""

    bridges: Sequence[str] = ()
    random_bytes: Callable[[int], bytes] | None = None  # None: `mac=random` is derived as if it were empty


def derived_mac(nic_id: int, model: str, uuid: str) -> str:
    """Locally administered unicast address that stays the same.  Source: OpenXT xenvm, 2015."""
    words = [str(nic_id), *([model] if model else []), uuid]
    digest = hashlib.md5(" ".join(words).encode(), usedforsecurity=False).hexdigest()
    octets = [int(digest[at] + digest[at + 12], 16) for at in _DIGEST_PAIRS]
    octets[0] = octets[0] & 0xFE | 0x02
    return ":".join(f"{octet:02x}" for octet in octets)


def random_mac(random_bytes: Callable[[int], bytes]) -> str:
    """In Xen's range; the first random byte stays below 0x80."""
    tail = random_bytes(3)
    octets = XEN_OUI + bytes((tail[0] & 0x7F,)) + tail[1:3]
    return octets.hex(":")


def sanitised(nics: Sequence[Nic], uuid: str, host: HostNet) -> tuple[Nic, ...]:
    """Every card with an id, a MAC and a place to connect to, by ascending id.  Raises NicClash."""
    taken = [nic.id for nic in nics if nic.id is not None]
    _check(len(nics), taken)
    free = (number for number in range(MAX_NICS) if number not in taken)
    numbered = [nic if nic.id is not None else replace(nic, id=next(free)) for nic in nics]
    ordered = sorted(numbered, key=lambda nic: nic.id or 0)
    return tuple(_placed(_addressed(nic, uuid, host), host) for nic in ordered)


def on_bridges(nics: Sequence[Nic], bridges: Sequence[str]) -> tuple[Nic, ...]:
    """Complete cards, on the host's first bridge where they name no place."""
    return tuple(_placed(nic, HostNet(bridges)) for nic in nics)


def _check(count: int, taken: Sequence[int]) -> None:
    if count > MAX_NICS:
        raise NicClash(f"{count} network cards, at most {MAX_NICS} are possible")
    for number in taken:
        if number >= MAX_NICS:
            raise NicClash(f"network card id {number} is above {MAX_NICS - 1}")
        if taken.count(number) > 1:
            raise NicClash(f"network card id {number} is given twice")


def _addressed(nic: Nic, uuid: str, host: HostNet) -> Nic:
    if nic.mac == "random" and host.random_bytes is not None:
        return replace(nic, mac=random_mac(host.random_bytes))
    if nic.mac in ("", "vm", "random"):
        return replace(nic, mac=derived_mac(nic.id or 0, nic.model, uuid))
    return nic


def _placed(nic: Nic, host: HostNet) -> Nic:
    """A card that names no place is put on the host's first bridge, if there is one."""
    if nic.backend_domid or nic.network or nic.bridge or not host.bridges:
        return nic
    return replace(nic, bridge=host.bridges[0])
