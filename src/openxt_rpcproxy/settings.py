# SPDX-License-Identifier: GPL-2.0-or-later
"""Command line → Settings.  Reads nothing but its arguments."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openxt_bus.names import is_bus_name
from openxt_core.ids import Domid
from openxt_core.places import Places
from openxt_rpcproxy.audit import AuditSettings

DEFAULT_LISTEN = "v4v:5555"
DEFAULT_FORWARD = "unix:/var/run/dbus/system_bus_socket"


@dataclass(frozen=True)
class Channel:
    """One end of the proxy: a scheme and its words, such as `v4v` and (`5555`,)."""

    scheme: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return ":".join((self.scheme, *self.words))


@dataclass(frozen=True)
class Settings:
    listen: Channel
    forward: Channel
    rules: Path
    server: bool = False
    firewall: bool = True
    verbose: bool = False
    tell_uuid: bool = False
    incoming_domid: Domid | None = None
    pidfile: Path | None = None
    request_name: str = ""  # for every name a client asks for; "" leaves what it asks for
    owner_name: bool = False
    translate_anonymous: bool = False
    auto_auth: bool = False
    json_in: bool = False
    websockets_in: bool = False
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    audit: AuditSettings | None = None


# Scheme → how many words follow, and whether they are numbers.
_LISTEN_SCHEMES = {"unix": (False,), "v4v": (True,), "tcp": (True,)}
_FORWARD_SCHEMES = {"unix": (False,)}
_NOT_BUILT = {
    "serial": "serial channels",
    "v4v-domid": "forwarding over v4v",
    "v4v-uuid": "forwarding over v4v",
}


def parse_channel(text: str, schemes: Mapping[str, tuple[bool, ...]]) -> Channel:
    """Raises ValueError naming what is wrong with the text."""
    scheme, _, rest = text.partition(":")
    if scheme in _NOT_BUILT:
        raise ValueError(f"channel {text!r}: {_NOT_BUILT[scheme]} are not built yet")
    if scheme not in schemes:
        raise ValueError(f"channel {text!r}: unknown kind {scheme!r}; known: {', '.join(schemes)}")
    # a path may hold colons itself
    words = (rest,) if len(schemes[scheme]) == 1 else tuple(rest.split(":"))
    if len(words) != len(schemes[scheme]) or not all(words):
        raise ValueError(f"channel {text!r}: {len(schemes[scheme])} words expected after {scheme!r}")
    for word, is_number in zip(words, schemes[scheme], strict=True):
        if is_number and not (word.isdecimal() and int(word) < 2**32):
            raise ValueError(f"channel {text!r}: {word!r} is not a port")
    return Channel(scheme, words)


_ORIGIN_HELP = "pages that may open a WebSocket, `*` for any; default: those of the host they connect to"
_HOST_HELP = "host names (without port) that a WebSocket may be opened to; default: any"


_LIMIT_HELP = "lines of one domain in 10 s (100); 0: no limit"


def _audit(args: argparse.Namespace) -> AuditSettings | None:
    """Raises ValueError."""
    if args.audit is None:
        if args.audit_all or args.audit_chain:
            raise ValueError("--audit-all and --audit-chain need --audit FILE")
        return None
    if args.audit_limit < 0:
        raise ValueError(f"--audit-limit {args.audit_limit}: less than none")
    return AuditSettings(args.audit, args.audit_all, args.audit_chain, args.audit_limit)


def _check_combination(args: argparse.Namespace) -> None:
    """Raises ValueError for options that mean nothing together."""
    if args.json_in and not args.auto_auth:
        raise ValueError("--json-in needs --auto-auth: JSON has no words to authenticate with")
    if args.websockets_in and not args.json_in:
        raise ValueError("--websockets-in without --json-in is not built yet")


def _check_name(template: str) -> None:
    """Raises ValueError unless `template` gives names that a bus takes."""
    if template and not is_bus_name(template.replace("$UUID", "u")):
        raise ValueError(f"--request-name {template!r} is no bus name")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rpc-proxy",
        allow_abbrev=False,
        description="Lets guests talk to the bus, message by message, by rule.",
    )
    add = parser.add_argument
    add("-i", "-l", "--incoming-channel", "--listen-channel", default=DEFAULT_LISTEN, metavar="CHANNEL")
    add("-o", "-f", "--outgoing-channel", "--forward-channel", default=DEFAULT_FORWARD, metavar="CHANNEL")
    add("-d", "--incoming-domid", type=int, metavar="DOMID", help="treat every client as this domain")
    add("-v", "--verbose", action="store_true", help="log allowed messages as well")
    add("-r", "--rules", type=Path, metavar="PATH", help="rules file (/etc/rpc-proxy.rules)")
    add("-s", "--server", action="store_true", help="own com.citrix.xenclient.rpc_proxy, answer questions")
    add("-w", "--no-firewall", action="store_true", help="check nothing")
    add("-u", "--uuid", action="store_true", help="tell the client its uuid when it authenticates")
    add("--pidfile", type=Path, metavar="FILE")
    add("-n", "--request-name", default="", metavar="NAME", help="own NAME, with $UUID, for any name asked")
    add("--owner-name", action="store_true", help="answer GetNameOwner with the name that was asked for")
    add("--translate-anonymous-dests", action="store_true", help="replace :N.M destinations by names")
    add("--auto-auth", action="store_true", help="the client sends messages without authentication")
    add("--json-in", action="store_true", help="the client speaks JSON; needs --auto-auth")
    add("--websockets-in", action="store_true", help="… in a WebSocket; needs --json-in")
    add("--allow-origin", action="append", default=[], metavar="ORIGIN", help=_ORIGIN_HELP)
    add("--allow-host", action="append", default=[], metavar="HOST", help=_HOST_HELP)
    add("--audit", type=Path, metavar="FILE", help="write denied messages to FILE, one a line")
    add("--audit-all", action="store_true", help="… and allowed ones")
    add("--audit-chain", action="store_true", help="each line names the hash of the one before")
    add("--audit-limit", type=int, default=100, metavar="N", help=_LIMIT_HELP)
    add("--json-out", dest="_not_built", action=_NotBuilt, nargs=0)
    return parser


class _NotBuilt(argparse.Action):
    """An option of the original that does not work yet says so: it must not seem to work."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object, **_kwargs: object) -> None:
        parser.error(f"{self.option_strings[-1]} is not built yet")


def parse(argv: Sequence[str], places: Places) -> Settings:
    """Wrong options end the process with status 2 and a message."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        _check_combination(args)
        _check_name(args.request_name)
        audit = _audit(args)
        listen = parse_channel(args.incoming_channel, _LISTEN_SCHEMES)
        forward = parse_channel(args.outgoing_channel, _FORWARD_SCHEMES)
    except ValueError as error:
        parser.error(str(error))
    return Settings(
        listen=listen,
        forward=forward,
        rules=args.rules or places.rpc_rules,
        server=args.server,
        firewall=not args.no_firewall,
        verbose=args.verbose,
        tell_uuid=args.uuid,
        incoming_domid=None if args.incoming_domid is None else Domid(args.incoming_domid),
        pidfile=args.pidfile,
        request_name=args.request_name,
        owner_name=args.owner_name,
        translate_anonymous=args.translate_anonymous_dests,
        auto_auth=args.auto_auth,
        json_in=args.json_in,
        websockets_in=args.websockets_in,
        origins=tuple(args.allow_origin),
        hosts=tuple(args.allow_host),
        audit=audit,
    )
