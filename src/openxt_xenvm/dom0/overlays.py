# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that take what a guest writes to a disk, and are thrown away: by qemu-img and qemu-nbd.

One that is enciphered has a key that nobody knows but the process that serves it: it waits in memory until
the file is served, and is on no disk at any time.  Source of the idea: OpenXT xenvm, 2015, which kept the key
beside the platform's other keys.
"""

import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from openxt_xenvm.dom0.programs import run
from openxt_xenvm.errors import DeviceError

KEYS = Path("/run/xenvm/keys")  # memory
KEY_BYTES = 32
ATTEMPTS = 10
MISMEASURED = "Unable to get accurate CPU usage"
_UNLOCK_MS = 10  # slowing down guesses is for passphrases of people


def make(overlay: str, base: str, base_format: str, *, enciphered: bool) -> None:
    """Anew, above `base`."""
    forget(overlay)
    cipher: tuple[str, ...] = ()
    if enciphered:
        _make_key(overlay)
        options = f"encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time={_UNLOCK_MS}"
        cipher = (*_secret(overlay), "-o", options)
    _create("-f", "qcow2", *cipher, "-F", base_format, "-b", base, "--", overlay)


def _create(*words: str) -> None:
    """Before it enciphers, QEMU measures how fast it is, and gives up when it was put aside meanwhile.
    Source: QEMU before 9.1, crypto/pbkdf.c."""
    for left in reversed(range(ATTEMPTS)):
        try:
            run("qemu-img", "create", "-q", *words)
        except DeviceError as error:
            if not left or MISMEASURED not in str(error):
                raise
        else:
            return


def served_as(overlay: str, *, enciphered: bool) -> tuple[str, ...]:
    """What tells qemu-nbd of it."""
    if not enciphered:
        return ("--format=qcow2", "--", overlay)
    return (*_secret(overlay), "--image-opts", _enciphered(overlay))


def is_served(file: str, words: Sequence[str]) -> bool:
    """Whether a qemu-nbd with this command line serves a file, enciphered or not."""
    return file in words or _enciphered(file) in words


def _enciphered(overlay: str) -> str:
    """In QEMU's words, in which two commas stand for one."""
    name = overlay.replace(",", ",,")
    return f"driver=qcow2,encrypt.key-secret=key,file.driver=file,file.filename={name}"


def forget_key(overlay: str) -> None:
    """Whoever serves it has read it."""
    _key(overlay).unlink(missing_ok=True)


def forget(overlay: str) -> None:
    forget_key(overlay)
    Path(overlay).unlink(missing_ok=True)


def _key(overlay: str) -> Path:
    return KEYS / hashlib.sha256(overlay.encode()).hexdigest()


def _make_key(overlay: str) -> None:
    KEYS.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(_key(overlay), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES))  # text, as QEMU wants it


def _secret(overlay: str) -> tuple[str, str]:
    return ("--object", f"secret,id=key,file={_key(overlay)}")
