# SPDX-License-Identifier: GPL-2.0-or-later
"""Command line and /etc/uid.conf → Settings.  Pure, but for the file that it is given as text.

The file holds `key = value` lines; unknown keys are allowed, since the original has some that mean nothing
here.  Options win over the file.  Source: OpenXT uid, 2015.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import BadRequest

UIVM = "00000000-0000-0000-0000-000000000001"


@dataclass(frozen=True)
class Settings:
    port: int = 80
    address: str = ""  # empty: v4v; else TCP on this address
    files: Path = Path("/usr/lib/xui")
    only_uuids: frozenset[str] = frozenset({UIVM})  # over v4v; empty: every VM
    root_file: str = "index.html"
    websocket_port: int = 0  # told to the page; 0: its own default
    log_requests: bool = False


def parse(argv: Sequence[str], conf: str) -> Settings:
    """Raises BadRequest naming the line of the file; wrong options end the process with status 2."""
    args = parser().parse_args(argv)
    keys = _keys(conf)
    port = args.http_port or _number(keys, "http-port", 80)
    return Settings(
        port=port,
        address=args.address,
        files=args.files_dir or Path(keys.get("files-dir", "/usr/lib/xui")),
        only_uuids=frozenset(keys.get("only-uuids", UIVM).replace(",", " ").lower().split()),
        root_file=keys.get("root-file", "index.html"),
        websocket_port=args.websocket_port,
        log_requests=keys.get("log-http-reqs", "false") == "true",
    )


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="openxt-uid", description="Serves the pages of the browser UI.", allow_abbrev=False
    )
    add = made.add_argument
    add("--http-port", type=int, metavar="PORT", help="port, of v4v unless --address is given (80)")
    add("--address", default="", help="listen on this TCP address instead of v4v, such as 127.0.0.1")
    add("--files-dir", type=Path, metavar="DIR", help="folder of the pages (/usr/lib/xui)")
    add("--websocket-port", type=int, default=0, metavar="PORT", help="where the page finds rpc-proxy (8080)")
    add("--config", type=Path, metavar="FILE", help="settings file (/etc/uid.conf)")
    add("--no-daemonize", action="store_true", help="accepted; it never does")
    return made


def config_file(argv: Sequence[str]) -> Path | None:
    """The settings file that the command line names."""
    found: Path | None = parser().parse_args(argv).config
    return found


def _keys(conf: str) -> dict[str, str]:
    found = {}
    for number, line in enumerate(conf.splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        key, equals, value = text.partition("=")
        if not equals:
            raise BadRequest(f"uid.conf line {number}: no KEY = VALUE: {text[:60]!r}")
        found[key.strip()] = value.strip()
    return found


def _number(keys: dict[str, str], key: str, default: int) -> int:
    text = keys.get(key, str(default))
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 2**32:
        raise BadRequest(f"uid.conf: {key} = {text[:40]!r} is no port")
    return int(text)
