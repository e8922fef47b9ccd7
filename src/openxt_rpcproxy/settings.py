# SPDX-License-Identifier: GPL-2.0-or-later
"""Command line → Settings.  Reads nothing but its arguments."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openxt_bus.names import is_bus_name
from openxt_core.errors import BadRequest
from openxt_core.ids import DOM0, Domid, parse_uuid
from openxt_core.places import Places
from openxt_rpcproxy.audit import AuditSettings
from openxt_rpcproxy.budget import Limits

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
    json_out: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def is_for_guests(self) -> bool:
        """Clients come from other domains, or are taken for another."""
        if self.incoming_domid is not None:
            return self.incoming_domid != DOM0
        return self.listen.scheme == "v4v"

    @property
    def is_raw(self) -> bool:
        """Both sides speak plain D-Bus."""
        return not (self.json_in or self.json_out or self.websockets_in)


def _number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and int(word) < 2**32


def _uuid(word: str) -> bool:
    try:
        return bool(parse_uuid(word))
    except BadRequest:
        return False


def _text(word: str) -> bool:
    return bool(word)


_Shape = tuple[tuple[str, Callable[[str], bool]], ...]

# Scheme → shapes of what follows it.  A single text may hold colons itself.
_LISTEN_SCHEMES: Mapping[str, tuple[_Shape, ...]] = {
    "unix": ((("PATH", _text),),),
    "v4v": ((("PORT", _number),),),
    "tcp": ((("PORT", _number),), (("ADDRESS", _text), ("PORT", _number))),
    "serial": ((("DEVICE", _text),),),
}
_FORWARD_SCHEMES: Mapping[str, tuple[_Shape, ...]] = {
    "unix": ((("PATH", _text),),),
    "v4v-domid": ((("PORT", _number), ("DOMID", _number)),),
    "v4v-uuid": ((("PORT", _number), ("UUID", _uuid)),),
    "serial": ((("DEVICE", _text),),),
}
_NEWER_NAMES = {"argo": "v4v", "argo-domid": "v4v-domid", "argo-uuid": "v4v-uuid"}


def parse_channel(text: str, schemes: Mapping[str, tuple[_Shape, ...]]) -> Channel:
    """Raises ValueError naming what is wrong with the text."""
    scheme, _, rest = text.partition(":")
    scheme = _NEWER_NAMES.get(scheme, scheme)
    if scheme not in schemes:
        raise ValueError(f"channel {text!r}: unknown kind {scheme!r}; known: {', '.join(schemes)}")
    for shape in schemes[scheme]:
        words = (rest,) if len(shape) == 1 else tuple(rest.rsplit(":", len(shape) - 1))
        fits = len(words) == len(shape)
        if fits and all(is_good(word) for word, (_, is_good) in zip(words, shape, strict=True)):
            return Channel(scheme, words)
    known = " or ".join(":".join((scheme, *(name for name, _ in shape))) for shape in schemes[scheme])
    raise ValueError(f"channel {text!r} is not of the form {known}")


_IN_HELP = f"of clients ({DEFAULT_LISTEN})"
_OUT_HELP = "of the bus (system's)"
_ORIGIN_HELP = "whose pages it lets in (their host's); `*`: any"
_HOST_HELP = "what pages may call this host (any name)"


_LINES_HELP = "lines of one domain in 10 s (100); 0: no limit"
_LIMIT_HELP = "what one domain may use; rpc-proxy(8) names them"
_COLUMN = 28  # of what a line says, where what is typed leaves room


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
    if args.websockets_in and not args.auto_auth:
        raise ValueError("--websockets-in needs --auto-auth: a page has no words to authenticate with")


def _check_name(template: str) -> None:
    """Raises ValueError unless `template` gives names that a bus takes."""
    if template and not is_bus_name(template.replace("$UUID", "u")):
        raise ValueError(f"--request-name {template!r} is no bus name")


class _Screen(argparse.HelpFormatter):
    """A line for each option, nothing between them: all of them fit a screen of 24 lines of 80."""

    def add_usage(self, usage: str | None, *rest: Any, **named: Any) -> None:
        self._add_item(lambda: f"usage: {usage}\n", [])

    def start_section(self, heading: str | None) -> None:
        """No heading: there is one group."""

    def end_section(self) -> None:
        """See start_section."""

    def _format_action(self, action: argparse.Action) -> str:
        if action.dest == "help":  # whoever reads this knows it
            return ""
        value = f" {action.metavar}" if action.metavar else ""
        typed = ", ".join(action.option_strings) + value
        return f"  {typed:<{_COLUMN}}  {self._expand_help(action)}\n"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="rpc-proxy",
        usage="rpc-proxy [option…]: guests talk to the bus, message by message, by rule",
        formatter_class=_Screen,
        allow_abbrev=False,
    )
    add = made.add_argument
    add(
        "-i",
        "-l",
        "--incoming-channel",
        "--listen-channel",
        default=DEFAULT_LISTEN,
        metavar="CHANNEL",
        help=_IN_HELP,
    )
    add(
        "-o",
        "-f",
        "--outgoing-channel",
        "--forward-channel",
        default=DEFAULT_FORWARD,
        metavar="CHANNEL",
        help=_OUT_HELP,
    )
    add("-d", "--incoming-domid", type=int, metavar="DOMID", help="treat every client as this domain")
    add("-v", "--verbose", action="store_true", help="log allowed messages as well")
    add("-r", "--rules", type=Path, metavar="PATH", help="rules file (/etc/rpc-proxy.rules)")
    add("-s", "--server", action="store_true", help="own the name …rpc_proxy, answer questions")
    add("-w", "--no-firewall", action="store_true", help="check nothing")
    add("-u", "--uuid", action="store_true", help="tell the client its uuid at authentication")
    add("--pidfile", type=Path, metavar="FILE", help="write the process id there")
    add("-n", "--request-name", default="", metavar="NAME", help="own NAME, with $UUID, for any name asked")
    add("--owner-name", action="store_true", help="answer GetNameOwner with the name asked for")
    add("--translate-anonymous-dests", action="store_true", help="replace :N.M destinations by names")
    add("--auto-auth", action="store_true", help="the client does not authenticate")
    add("--json-in", action="store_true", help="the client speaks JSON; needs --auto-auth")
    add("--websockets-in", action="store_true", help="… in a WebSocket; needs --auto-auth")
    add("--allow-origin", action="append", default=[], metavar="ORIGIN", help=_ORIGIN_HELP)
    add("--allow-host", action="append", default=[], metavar="HOST", help=_HOST_HELP)
    add("--json-out", action="store_true", help="the bus speaks JSON, without authentication")
    add("--limit", action="append", default=[], metavar="NAME=NUMBER", help=_LIMIT_HELP)
    add("--audit", type=Path, metavar="FILE", help="write denied messages to FILE, one a line")
    add("--audit-all", action="store_true", help="… and allowed ones")
    add("--audit-chain", action="store_true", help="each line names the hash of the one before")
    add("--audit-limit", type=int, default=100, metavar="N", help=_LINES_HELP)
    return made


def parse(argv: Sequence[str], places: Places) -> Settings:
    """Wrong options end the process with status 2 and a message."""
    words = parser()
    args = words.parse_args(argv)
    try:
        _check_combination(args)
        _check_name(args.request_name)
        audit = _audit(args)
        listen = parse_channel(args.incoming_channel, _LISTEN_SCHEMES)
        forward = parse_channel(args.outgoing_channel, _FORWARD_SCHEMES)
        limits = Limits().with_words(tuple(args.limit))
    except (ValueError, BadRequest) as error:
        words.error(str(error))
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
        json_out=args.json_out,
        limits=limits,
        audit=audit,
    )
