# SPDX-License-Identifier: GPL-2.0-or-later
"""`"/vm/x/name"` ↔ `("vm", "x", "name")`.  Pure.

Empty segments do not count: `a/b`, `/a/b` and `//a//b/` are one path, `""` and `/` are the root.
`.` and `..` are names like any other: there is no way up.
"""

Path = tuple[str, ...]

ROOT: Path = ()


def parse(text: str) -> Path:
    return tuple(filter(None, text.split("/")))


def text(path: Path) -> str:
    return "/" + "/".join(path)
