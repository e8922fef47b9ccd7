# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a program of the control domain to its end.  Its words go to no shell."""

import subprocess

from openxt_xenvm.errors import DeviceError

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C"}
TIMEOUT_S = 30.0


def run(*command: str, **environment: str) -> str:
    """What it prints.  Raises DeviceError with what it complains about."""
    try:
        done = subprocess.run(
            command,
            env=ENVIRONMENT | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            text=True,
            errors="replace",
            start_new_session=True,  # what it leaves running outlives us
        )
    except OSError as error:
        raise DeviceError(f"{command[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{command[0]} did not end within {TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise DeviceError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
