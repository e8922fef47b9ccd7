# SPDX-License-Identifier: GPL-2.0-or-later
"""xc-rpcgen: interface files in, bindings or documentation out.  Arguments and files only.

Exit status: 0 done; 1 an interface file or the output folder is not right; 2 the command line is
not right, or asks for a target that is not built yet.  Nothing is written unless every file was
read without fault.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from openxt_idl.emit import docs, python
from openxt_idl.read import IdlError, read_file

NOT_BUILT = ("haskell", "camel", "javascript", "ruby", "c2", "c")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if mistake := _mistake(arguments):
        return _fail(2, mistake)
    try:
        texts = dict(_outputs(arguments))
        _write(arguments.output, texts)
    except IdlError as error:
        return _fail(1, str(error))
    except OSError as error:
        return _fail(1, f"{error.filename}: {error.strerror}")
    return 0


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


def _mistake(arguments: argparse.Namespace) -> str:
    """What is wrong with the command line; empty if nothing is."""
    for target in NOT_BUILT:
        if getattr(arguments, target):
            return f"--{target} is not built yet"
    names = [_name(arguments, path) for path in arguments.files]
    for name in names:
        if not name.isidentifier():
            return f"{name!r} cannot be the name of a module"
        if names.count(name) > 1:
            return f"two files would be written to {name!r}"
    return ""


def _name(arguments: argparse.Namespace, path: Path) -> str:
    return arguments.name or path.stem.lower().replace("-", "_")


def _outputs(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """File names and texts of everything asked for."""
    if not arguments.docs:
        yield "__init__.py", python.PACKAGE_INIT
    server = arguments.server or not arguments.client
    client = not arguments.server
    for path in arguments.files:
        file = read_file(path)
        name = _name(arguments, path)
        if arguments.docs:
            yield f"{name}.md", docs.page(file)
        else:
            yield f"{name}.py", python.module(file, client=client, server=server)


def _write(folder: Path, texts: dict[str, str]) -> None:
    """Write everything; an `__init__.py` that exists stays as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        target = folder / name
        if name != "__init__.py" or not target.exists():
            target.write_text(text, encoding="utf-8")


def _fail(status: int, text: str) -> int:
    print(f"xc-rpcgen: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
