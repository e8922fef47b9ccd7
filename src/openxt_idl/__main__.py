# SPDX-License-Identifier: GPL-2.0-or-later
"""xc-rpcgen: interface files in, bindings or documentation out.  Files only.

Exit status: 0 done; 1 an interface file or the output folder is not right; 2 the command line is
not right, or asks for a target that is not made.  Nothing is written unless every file was
read without fault.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from openxt_core.spec import IdlFile
from openxt_idl.emit import c, docs, html, javascript, python, typescript
from openxt_idl.read import IdlError, read_file
from openxt_idl.settings import Settings, UsageError, parse


def main(argv: Sequence[str] | None = None) -> int:
    try:
        settings = parse(argv)
        _write(settings.output, dict(_outputs(settings)))
    except UsageError as error:
        return _fail(2, str(error))
    except IdlError as error:
        return _fail(1, str(error))
    except OSError as error:
        return _fail(1, f"{error.filename}: {error.strerror}")
    return 0


def _outputs(settings: Settings) -> Iterator[tuple[str, str]]:
    """File names and texts of everything asked for."""
    files = [(read_file(path), name) for path, name in settings.inputs]
    for file, name in files:
        yield _output(settings, file, name)
    match settings.target:
        case "python":
            yield "__init__.py", python.PACKAGE_INIT
        case "typescript":
            yield typescript.SHARED_NAME, typescript.SHARED
        case "html":
            yield "index.html", html.index([file for file, _ in files])


def _output(settings: Settings, file: IdlFile, name: str) -> tuple[str, str]:
    match settings.target:
        case "javascript":
            return javascript.file_name(name), javascript.script(file, name)
        case "typescript":
            return typescript.file_name(name), typescript.declarations(file, name)
        case "c":
            return c.file_name(name), c.header(file, name)
        case "docs":
            return f"{name}.md", docs.page(file)
        case "html":
            return f"{name}.html", html.page(file)
    return f"{name}.py", python.module(file, client=settings.client, server=settings.server)


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
