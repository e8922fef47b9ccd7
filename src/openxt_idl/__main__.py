# SPDX-License-Identifier: GPL-2.0-or-later
"""xc-rpcgen: interface files in, bindings or documentation out.  Arguments and files only.

Exit status: 0 done; 1 an interface file is not right; 2 the command line is not right, or asks for
a target that is not built yet.  Nothing is written unless every file was read without fault.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from openxt_idl.emit import python
from openxt_idl.read import IdlError, read_file

NOT_BUILT = ("haskell", "camel", "javascript", "ruby", "c2", "c")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.name and len(arguments.files) > 1:
        return _fail(2, "-n names the output of one file, but several were given")
    for target in NOT_BUILT:
        if getattr(arguments, target):
            return _fail(2, f"--{target} is not built yet")
    try:
        texts = _outputs(arguments)
    except IdlError as error:
        return _fail(1, str(error))
    try:
        _write(arguments.output, texts, is_package=not arguments.docs)
    except OSError as error:
        return _fail(1, f"{error.filename}: {error.strerror}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xc-rpcgen", description="Bindings from D-Bus interface files.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.xml")
    parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="output directory")
    parser.add_argument("-c", "--client", action="store_true", help="client side only")
    parser.add_argument("-s", "--server", action="store_true", help="server side only; wins over -c")
    parser.add_argument("-n", "--name", default="", help="name of the output instead of the file's own")
    parser.add_argument("--module-prefix", default="", help="accepted; Python output needs none")
    parser.add_argument("--templates-dir", default="", help="accepted; there are no templates")
    parser.add_argument("--python", action="store_true", help="Python, both sides unless told: the default")
    parser.add_argument("--docs", action="store_true", help="documentation in Markdown")
    for target in NOT_BUILT:
        parser.add_argument(f"--{target}", action="store_true", help="not built yet")
    return parser


def _outputs(arguments: argparse.Namespace) -> dict[str, str]:
    """File name → text for everything asked for."""
    texts: dict[str, str] = {}
    only_client = arguments.client and not arguments.server
    for path in arguments.files:
        file = read_file(path)
        name = arguments.name or path.stem.lower().replace("-", "_")
        text = python.module(file, client=not arguments.server, server=not only_client)
        texts[f"{name}.py"] = text
    return texts


def _write(folder: Path, texts: dict[str, str], *, is_package: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if is_package and not (folder / "__init__.py").exists():
        texts = {"__init__.py": python.PACKAGE_INIT, **texts}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _fail(status: int, text: str) -> int:
    print(f"xc-rpcgen: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
