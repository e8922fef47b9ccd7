# SPDX-License-Identifier: GPL-2.0-or-later
"""apptool's command line → what is asked for.  Pure.

The rules are the original's (Haskell's GetOpt): `--option VALUE`, `--option=VALUE`, a long option may be cut
short while it stays unmistakable, and of an option given twice the first counts.  Unlike there, what is not
known is refused.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid, parse_uuid
from openxt_ovf.units import whole_number

MAX_VERSION = (1 << 31) - 1
TITLE = "Usage: apptool OPTION...  Import, replace and remove OVF appliances (.ovf, .ova)"


class Action(enum.StrEnum):
    """What can be asked for; of several the first in this order counts."""

    HELP = "help"
    LIST = "list"
    CLEANUP = "cleanup"
    REMOVE = "remove"
    GENENVDOC = "genenvdoc"
    GENENVISO = "genenviso"
    VERIFY = "verify"
    IMPORT = "import"


# fmt: off
OPTIONS = (
    # names                                      value       help
    ("import",                                   "FILE",     "import a package"),
    ("verify",                                   "FILE",     "check a package, import nothing"),
    ("upgrade downgrade reinstall",              "",         "replace a lower, higher, same version"),
    ("remove",                                   "ID",       "remove an appliance, its VMs and files"),
    ("list",                                     "",         "print ids of installed appliances"),
    ("cleanup",                                  "",         "remove what interrupted imports left"),
    ("set-id",                                   "ID",       "id in place of the package's"),
    ("set-version",                              "NUMBER",   "version in place of the package's"),
    ("network",                                  "NAME=PATH", "host's network for the package's NAME"),
    ("trusted",                                  "",         "the package may use dom0 itself"),
    ("skip-manifest",                            "",         "do not check digests and signature"),
    ("only-disk-images with-existing-disk-images", "",       "make images alone; use those made"),
    ("disk-image-map",                           "FILE",     "where these two keep which is which"),
    ("genenvdoc",                                "UUID",     "print a VM's OVF environment"),
    ("genenviso",                                "UUID",     "write it as CD image, to --iso"),
    ("iso",                                      "FILE",     "the CD image"),
    ("temp",                                     "DIR",      "temporary files (/storage/apptool)"),
    ("idl",                                      "DIR",      "accepted; interfaces are built in"),
    ("help",                                     "",         "print this text"),
)
# fmt: on

_VALUES = {name: value for names, value, _ in OPTIONS for name in names.split()}
PERMISSIONS = ("upgrade", "downgrade", "reinstall")


@dataclass(frozen=True, slots=True)
class Request:
    """`subject`: the value of the action's option.  None as action: nothing was asked for."""

    action: Action | None
    subject: str = ""
    permitted: frozenset[str] = frozenset()
    id: str = ""
    version: int | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    is_trusted: bool = False
    skips_manifest: bool = False
    only_images: bool = False
    with_images: bool = False
    map_file: str = ""
    iso: str = ""
    temp: str = ""

    @property
    def uuid(self) -> Uuid:
        return parse_uuid(self.subject)


def request_of(words: Sequence[str]) -> Request:
    """Raises BadRequest for what is no command line of ours."""
    given = _given(words)
    action = next((one for one in Action if one in given), None)
    request = Request(
        action=action,
        subject=given[action][0] if action else "",
        permitted=frozenset(f"--{name}" for name in PERMISSIONS if name in given),
        id=_first(given, "set-id"),
        version=whole_number(_first(given, "set-version"), "--set-version", MAX_VERSION),
        networks=dict(_pair(one) for one in reversed(given.get("network", []))),
        is_trusted="trusted" in given,
        skips_manifest="skip-manifest" in given,
        only_images="only-disk-images" in given,
        with_images="with-existing-disk-images" in given,
        map_file=_first(given, "disk-image-map"),
        iso=_first(given, "iso"),
        temp=_first(given, "temp"),
    )
    _check(request)
    return request


def _first(given: Mapping[str, Sequence[str]], name: str) -> str:
    return given[name][0] if name in given else ""


def _given(words: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        option = "help" if word == "-h" else _option(name)
        if _VALUES[option] and not equals:
            if not rest:
                raise BadRequest(f"--{option} needs {_VALUES[option]}; see apptool --help")
            value = rest.pop(0)
        if equals and not _VALUES[option]:
            raise BadRequest(f"--{option} takes no value; see apptool --help")
        found.setdefault(option, []).append(value)
    return found


def _option(word: str) -> str:
    name = word.removeprefix("--")
    if name in _VALUES and word != name:
        return name
    similar = [known for known in _VALUES if name and word != name and known.startswith(name)]
    if len(similar) != 1:
        raise BadRequest(f"unknown option {word[:60]}; see apptool --help")
    return similar[0]


def _pair(text: str) -> tuple[str, str]:
    name, equals, path = text.rpartition("=")
    if not equals or not name or not PurePosixPath(path).is_absolute():
        raise BadRequest(f"--network cannot be {text[:60]!r}: NAME=/PATH is expected")
    return name, path


def _check(request: Request) -> None:
    if request.action is Action.GENENVISO and not request.iso:
        raise BadRequest("--genenviso needs --iso FILE")
    if (request.only_images or request.with_images) and not request.map_file:
        raise BadRequest("--only-disk-images and --with-existing-disk-images need --disk-image-map FILE")
    if request.only_images and request.with_images:
        raise BadRequest("--only-disk-images and --with-existing-disk-images exclude each other")


def usage() -> str:
    lines = [TITLE, ""]
    for names, value, text in OPTIONS:
        words = f"  {', '.join(f'--{name}' for name in names.split())} {value}".rstrip()
        lines += [words, f"{'':42}{text}"] if len(words) > 42 else [f"{words:<42}{text}"]
    return "\n".join((*lines, ""))
