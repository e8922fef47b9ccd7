# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a package's manifest was signed by whom its certificate names.  openssl does the reckoning.

A wrong signature is refused.  Whether this host trusts the signer is told, not demanded: most packages are
signed by nobody at all.  Source: DMTF DSP0243, clause 5.1.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from openxt_core.errors import BadRequest, Unavailable
from openxt_ovf import programs
from openxt_ovf.manifest import MAX_BYTES, Signature, read_certificate
from openxt_ovf.package import Package
from openxt_ovf.slices import Slice


def check_signature(package: Package, manifest: Slice, temp: Path) -> str | None:
    """What to tell of the signer; None for a package without certificate.

    Raises BadRequest for a signature that does not fit.
    """
    stem = Path(package.own_name).stem
    name = f"{stem}.cert"
    found = package.beside(name)
    if found is None:
        return None
    signature = read_certificate(found.read(MAX_BYTES, name), name)
    if signature.name != f"{stem}.mf":
        raise BadRequest(f"{name} signs {signature.name[:80]!r}, not {stem}.mf")
    with TemporaryDirectory(dir=temp) as folder:
        return _checked(signature, manifest.read(MAX_BYTES, f"{stem}.mf"), name, Path(folder))


def _checked(signature: Signature, manifest: bytes, name: str, folder: Path) -> str:
    certificate, key, value, signed = (folder / one for one in ("cert", "key", "value", "manifest"))
    certificate.write_text(signature.certificate)
    value.write_bytes(signature.value)
    signed.write_bytes(manifest)
    try:
        key.write_text(programs.run("openssl", "x509", "-in", str(certificate), "-noout", "-pubkey"))
        verify = ("-verify", str(key), "-signature", str(value), str(signed))
        programs.run("openssl", "dgst", f"-{signature.algorithm}", *verify)
    except Unavailable as error:
        raise BadRequest(f"{name}: the manifest's signature does not fit: {error}") from None
    subject = programs.run("openssl", "x509", "-in", str(certificate), "-noout", "-subject").strip()
    word = "trusts" if _is_trusted(certificate) else "does not trust"
    return f"signed, {subject.removeprefix('subject=').strip()!r:.160}, whom this host {word}"


def _is_trusted(certificate: Path) -> bool:
    try:
        programs.run("openssl", "verify", "-untrusted", str(certificate), str(certificate))
    except Unavailable:
        return False
    return True
