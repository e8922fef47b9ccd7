# SPDX-License-Identifier: GPL-2.0-or-later
"""xenvm's command line, and what it makes of the config file.  Exit status 3 is for what is wrong here."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid, parse_uuid
from openxt_xenvm.config.model import EMPTY, DomainConfig
from openxt_xenvm.config.nics import HostNet
from openxt_xenvm.config.parse import ConfigError, parse_config
from openxt_xenvm.config.values import read_bool

EXIT_USAGE = 3


@dataclass(frozen=True)
class Options:
    config: str = ""
    uuid: Uuid | None = None
    strict_config: bool = False
    daemonize: bool = True
    monitor_dbus: bool = True
    monitor_json: bool = False
    session_bus: bool = False


@dataclass(frozen=True)
class Subject:
    """The VM to monitor."""

    uuid: Uuid
    config: DomainConfig
    config_path: str
    ignored: tuple[ConfigError, ...] = ()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def _boolean(text: str) -> bool:
    try:
        return read_bool(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _uuid(text: str) -> Uuid:
    try:
        return parse_uuid(text)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parser() -> argparse.ArgumentParser:
    made = _Parser("xenvm", description="Monitor of one virtual machine.")
    made.add_argument("positional", metavar="CONFIG", nargs="*", help="deprecated: use --config")
    made.add_argument("--config", default="", help="config file")
    made.add_argument("--uuid", type=_uuid, help="overrides the config file's")
    made.add_argument("--strict-config", action="store_true", help="every config error is fatal")
    made.add_argument("--no-daemonize", action="store_true", help="stay in the foreground")
    made.add_argument("--monitor-dbus", type=_boolean, default=True, metavar="BOOL", help="D-Bus service")
    made.add_argument("--monitor-json", type=_boolean, default=False, metavar="BOOL", help="UNIX socket")
    made.add_argument("--monitor-dbus-session", action="store_true", help="service on the session bus")
    return made


def read_options(argv: Sequence[str] | None = None) -> Options:
    """Ends the program with status 3 when the command line is wrong."""
    words = parser()
    found = words.parse_args(argv)
    config = found.config or (found.positional[-1] if found.positional else "")
    if not config and found.uuid is None:
        words.error("a config file or a uuid is needed")
    return Options(
        config,
        found.uuid,
        found.strict_config,
        not found.no_daemonize,
        found.monitor_dbus,
        found.monitor_json,
        found.monitor_dbus_session,
    )


def read_subject(options: Options) -> Subject:
    """Raises BadRequest, all reasons in its text, when there is nothing to monitor."""
    if not options.config:
        assert options.uuid is not None
        return Subject(options.uuid, EMPTY, "")
    try:
        text = Path(options.config).read_text(errors="replace")
    except OSError as error:
        raise BadRequest(f"cannot read {options.config}: {error.strerror}") from error
    parsed = parse_config(text, options.uuid, HostNet(random_bytes=os.urandom))
    fatal = parsed.errors if options.strict_config else parsed.fatal
    if fatal:
        raise BadRequest("\n".join(map(str, fatal)))
    if parsed.config.uuid is None:
        raise BadRequest(f"{options.config} has no uuid")
    return Subject(parsed.config.uuid, parsed.config, options.config, parsed.errors)
