# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of xc-rpcgen → what to make and where.  Touches no file."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# target: what it is; the first one asked for, in this order, is made
TARGETS = {
    "python": "Python, both sides unless told: the default",
    "javascript": "JavaScript for pages, client side only",
    "typescript": "TypeScript declarations of the JavaScript",
    "c": "C for sd-bus, a header, client side only",
    "docs": "documentation in Markdown",
    "html": "documentation in HTML",
}
CLIENT_ONLY = ("javascript", "typescript", "c")
NOT_MADE = {
    "haskell": "no Haskell is made",
    "camel": "no OCaml is made",
    "ruby": "no Ruby is made",
    "c2": "no udbus C is made; --c makes C for sd-bus",
}


class UsageError(Exception):
    """A command line that asks for what cannot be, or is not built yet."""


@dataclass(frozen=True)
class Settings:
    """`inputs` are pairs of an interface file and the name of its output, without an extension."""

    output: Path
    inputs: tuple[tuple[Path, str], ...]
    client: bool
    server: bool
    target: str


def parse(argv: Sequence[str] | None) -> Settings:
    """The settings.  Raises UsageError; SystemExit(2), after a message, for unknown options."""
    arguments = parser().parse_args(argv)
    target = _target(arguments)
    names = [arguments.name or path.stem.lower().replace("-", "_") for path in arguments.files]
    for name in names:
        if not name.isidentifier():
            raise UsageError(f"{name!r} cannot be the name of a module")
        if names.count(name) > 1:
            raise UsageError(f"two files would be written to {name!r}")
    return Settings(
        output=arguments.output,
        inputs=tuple(zip(arguments.files, names, strict=True)),
        client=not arguments.server,
        server=arguments.server or not arguments.client,
        target=target,
    )


def _target(arguments: argparse.Namespace) -> str:
    for target, why in NOT_MADE.items():
        if getattr(arguments, target):
            raise UsageError(f"--{target}: {why}")
    target = next((target for target in TARGETS if getattr(arguments, target)), "python")
    if arguments.server and target in CLIENT_ONLY:
        raise UsageError(f"--{target} has no server side: leave -s out")
    return target


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "xc-rpcgen",
        usage="%(prog)s [option…] FILE.xml…",
        description="Bindings from D-Bus interface files.",
        epilog=f"Refused, with the reason: {', '.join(f'--{target}' for target in NOT_MADE)}.",
    )
    add = made.add_argument
    add("files", nargs="+", type=Path, metavar="FILE.xml", help="interface files")
    add("-o", "--output", type=Path, default=Path(), metavar="DIR", help="where to write; default: here")
    add("-c", "--client", action="store_true", help="client side only")
    add("-s", "--server", action="store_true", help="server side only; wins over -c")
    add("-n", "--name", default="", help="name of the output instead of the file's own")
    add("--module-prefix", default="", metavar="PREFIX", help="accepted; Python output needs none")
    add("--templates-dir", default="", metavar="DIR", help="accepted; there are no templates")
    for target, meaning in TARGETS.items():
        add(f"--{target}", action="store_true", help=meaning)
    for target in NOT_MADE:
        add(f"--{target}", action="store_true", help=argparse.SUPPRESS)
    return made
