# SPDX-License-Identifier: GPL-2.0-or-later
"""Manifests and certificates of a package: text → digests, and what must be listed.  Pure.

    SHA256(disk.vmdk)= 9f86d0…        also with blanks: `SHA1 (a b.ovf) = …`, LF or CRLF, any case of digits

A certificate file is one such line for the manifest, with a signature in place of the digest, and then the
signer's certificate.  Source: DMTF DSP0243, clause 5.1; VMware, VirtualBox and XenConvert write the variants.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openxt_core.errors import BadRequest

ALGORITHMS = {"SHA1": "sha1", "SHA224": "sha224", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}
MAX_BYTES = 4 << 20

_LINE = re.compile(
    r"(?P<algorithm>[A-Za-z0-9-]{1,16})\s*\((?P<name>.{1,1000})\)\s*=\s*(?P<digits>[0-9A-Fa-f]+)\s*\Z"
)
_PEM = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Digest:
    """`algorithm` as hashlib calls it; `digits` in lower case."""

    algorithm: str
    digits: str


def read_manifest(data: bytes, what: str) -> dict[str, Digest]:
    """Digests by file name.  Raises BadRequest for a line that is none, and for a file listed twice."""
    found: dict[str, Digest] = {}
    for number, line in enumerate(_lines(data, what), 1):
        if not line.strip():
            continue
        name, digest = _entry(line, f"{what}: line {number}")
        if len(digest.digits) != 2 * hashlib.new(digest.algorithm, usedforsecurity=False).digest_size:
            raise BadRequest(f"{what}: line {number} has no whole digest")
        if name in found and found[name] != digest:
            raise BadRequest(f"{what}: {name[:80]!r} has two digests")
        found[name] = digest
    if not found:
        raise BadRequest(f"{what}: malformed manifest: it lists nothing")
    return found


def _lines(data: bytes, what: str) -> list[str]:
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadRequest(f"{what}: malformed manifest: not UTF-8 text") from None


def _entry(line: str, where: str) -> tuple[str, Digest]:
    matched = _LINE.match(line.strip())
    algorithm = ALGORITHMS.get(matched["algorithm"].upper().replace("-", "")) if matched else None
    if matched is None or algorithm is None:
        raise BadRequest(f"{where}: malformed manifest: {line[:60]!r} is no 'SHA256(NAME)= DIGEST'")
    return matched["name"], Digest(algorithm, matched["digits"].lower())


def unlisted(manifest: Mapping[str, Digest], needed: Iterable[str]) -> list[str]:
    """What must be in the manifest and is not."""
    return [name for name in needed if name not in manifest]


@dataclass(frozen=True, slots=True)
class Signature:
    """Of a manifest: which file it is of, the signature itself, the signer's certificate (PEM)."""

    name: str
    algorithm: str
    value: bytes
    certificate: str


def read_certificate(data: bytes, what: str) -> Signature:
    """Raises BadRequest for what is no certificate file."""
    text = "\n".join(_lines(data, what))
    head, begin, rest = text.partition(_PEM)
    lines = [line for line in head.splitlines() if line.strip()]
    if not begin or not lines:
        raise BadRequest(f"{what}: no signature line and certificate")
    name, digest = _entry(lines[0], what)
    if len(digest.digits) % 2:
        raise BadRequest(f"{what}: the signature has an odd number of digits")
    return Signature(name, digest.algorithm, bytes.fromhex(digest.digits), f"{begin}{rest}\n")
