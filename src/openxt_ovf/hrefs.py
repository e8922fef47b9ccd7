# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a reference of a package leads: inside the package, or to a file of the host.  Pure.

relative       inside the package, beside its descriptor; also percent-encoded, as some exporters do
file:PATH      a file of the host
http:, https:  recognised, not fetched
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from posixpath import normpath
from urllib.parse import unquote

from openxt_core.errors import BadRequest, NotSupported
from openxt_ovf.model import File

_REMOTE = ("http:", "https:", "ftp:")
MAX_CHUNKS = 10_000
_FILE_NAME = re.compile(r"[^\x00-\x1f/:\x7f]{1,120}\Z")
_HOLDS_NO_NAME = (".", "-")  # hidden files, and options of programs


@dataclass(frozen=True, slots=True)
class Place:
    """`names`: what the file may be called in the package, first that exists; or `host_path`."""

    names: tuple[str, ...] = ()
    host_path: str = ""


def place_of(href: str) -> Place:
    """Raises BadRequest for a path that leaves the package, NotSupported for what is not fetched."""
    if href.lower().startswith(_REMOTE):
        raise NotSupported(f"{href[:120]!r} is not fetched: put the file into the package")
    if href.lower().startswith("file:"):
        return Place(host_path=_host_path(href))
    names = dict.fromkeys((inside(href), inside(unquote(href))))
    return Place(names=tuple(names))


def _host_path(href: str) -> str:
    path = unquote(href[len("file:") :])
    if path.startswith("//"):
        host, _, path = path[2:].partition("/")
        path = f"/{path}" if host in ("", "localhost") else ""
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise BadRequest(f"{href[:120]!r} is no full path of a file of this host")
    return normpath(path)


def inside(name: str, what: str = "the package") -> str:
    """A relative path without `.` parts.  Raises BadRequest for one that leads out of where it begins."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\0" in name or not name.strip("./"):
        raise BadRequest(f"{name[:120]!r} leads out of {what}")
    return "/".join(part for part in parts if part not in ("", "."))


def chunk_names(file: File, names: Sequence[str]) -> list[str]:
    """Of a file that is cut up: its parts in order, of those that there are.

    Raises BadRequest when one in between is missing.  Source: DSP0243, clause 7.1.
    """
    parts = sorted(name for name in names if _is_chunk(name, file.href))
    expected = [f"{file.href}.{number:09}" for number in range(len(parts))]
    if not parts or parts != expected or len(parts) > MAX_CHUNKS:
        raise BadRequest(
            f"missing file: {file.href[:120]}.{0 if not parts else len(parts) - 1:09} or one after it"
        )
    return parts


def _is_chunk(name: str, href: str) -> bool:
    stem, _, number = name.rpartition(".")
    return stem == href and len(number) == 9 and number.isascii() and number.isdigit()


def file_name(text: str, what: str) -> str:
    """The text, if it can be part of file names and database paths.  Raises BadRequest."""
    if not _FILE_NAME.match(text) or text.startswith(_HOLDS_NO_NAME):
        raise BadRequest(
            f"{what} cannot be {text[:60]!r}: no slash, colon or control character, no dot or dash first"
        )
    return text


def base_name(file: File) -> str:
    """What a file of the package is called on the host.  Raises BadRequest."""
    place = place_of(file.href)
    return file_name(
        (place.host_path or place.names[-1]).rpartition("/")[2], f"the name of {file.href[:80]!r}"
    )
