# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of xc-rpcgen → what to make and where.  Touches no file."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NOT_BUILT = ("haskell", "camel", "javascript", "ruby", "c2", "c")


class UsageError(Exception):
    """A command line that asks for what cannot be, or is not built yet."""


@dataclass(frozen=True)
class Settings:
    """`inputs` are pairs of an interface file and the name of its output, without an extension."""

    output: Path
    inputs: tuple[tuple[Path, str], ...]
    client: bool
    server: bool
    docs: bool


def parse(argv: Sequence[str] | None) -> Settings:
    """The settings.  Raises UsageError; SystemExit(2), after a message, for unknown options."""
    arguments = _parser().parse_args(argv)
    for target in NOT_BUILT:
        if getattr(arguments, target):
            raise UsageError(f"--{target} is not built yet")
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
        docs=arguments.docs,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xc-rpcgen", description="Bindings from D-Bus interface files.")
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE.xml")
    add("-o", "--output", type=Path, default=Path(), metavar="DIR", help="where to write; default: here")
    add("-c", "--client", action="store_true", help="client side only")
    add("-s", "--server", action="store_true", help="server side only; wins over -c")
    add("-n", "--name", default="", help="name of the output instead of the file's own")
    add("--module-prefix", default="", metavar="PREFIX", help="accepted; Python output needs none")
    add("--templates-dir", default="", metavar="DIR", help="accepted; there are no templates")
    add("--python", action="store_true", help="Python, both sides unless told: the default")
    add("--docs", action="store_true", help="documentation in Markdown")
    for target in NOT_BUILT:
        add(f"--{target}", action="store_true", help="not built yet")
    return parser
