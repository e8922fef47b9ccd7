# SPDX-License-Identifier: GPL-2.0-or-later
"""`"/vm/x/name"` ↔ `("vm", "x", "name")`.  Pure.

Empty segments do not count: `a/b`, `/a/b` and `//a//b/` are one path, `""` and `/` are the root.
`.` and `..` are names like any other: there is no way up.
"""

from typing import Final

Path = tuple[str, ...]

ROOT: Path = ()

MAX_KNOWN: Final = 8192
MAX_KNOWN_LENGTH: Final = 256
_known: dict[str, Path] = {}  # whoever asks for a path asks for it again


def parse(text: str) -> Path:
    path = _known.get(text)
    if path is None:
        path = tuple(filter(None, text.split("/")))
        if len(text) <= MAX_KNOWN_LENGTH:
            if len(_known) >= MAX_KNOWN:
                _known.clear()
            _known[text] = path
    return path


def text(path: Path) -> str:
    return "/" + "/".join(path)
