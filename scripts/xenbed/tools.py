# SPDX-License-Identifier: GPL-2.0-or-later
"""Running other programs, and saying what the bed is doing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class BedError(Exception):
    """The bed could not be built or used.  The text is meant for a person."""


def say(text: str) -> None:
    """One line on stderr: stdout belongs to the payload."""
    print(f"bed: {text}", file=sys.stderr, flush=True)


def run(command: Sequence[str | Path], *, cwd: Path | None = None, stdin: bytes | None = None) -> str:
    """Output of a program that must succeed.  Raises BedError with what it printed if it does not."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=cwd, input=stdin, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise BedError(f"{words[0]} is not installed") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise BedError(f"{' '.join(words)}: exit code {done.returncode}\n{said[-2000:]}")
    return done.stdout.decode(errors="replace")


def compile_ahead(folder: Path, root: Path) -> None:
    """Byte code for dom0, where Python is twenty times slower; `root` is what dom0 will know as /.

    Debian's python3 does it, as its version is dom0's.  The byte code is never checked against the source
    again, because both only come together.
    """
    options = ("-q", "--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/")
    run(["/usr/bin/python3", "-m", "compileall", *options, folder])
