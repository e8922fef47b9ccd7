#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the manual pages: make.py FOLDER, which man -M reads.

Each page is one file, each other name of its program another.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from manual.page import alias_of, text_of
from manual.pages import PAGES


def files() -> dict[str, str]:
    """File name → text."""
    made = {page.file: text_of(page) for page in PAGES}
    aliases = {page.place(name): alias_of(page) for page in PAGES for name in page.also}
    return {**made, **aliases}


def main() -> int:
    os.environ.pop("OPENXT_ROOT", None)  # the places of a real host
    folder = Path(sys.argv[1])
    for old in folder.glob("man[18]/*"):
        old.unlink()
    for name, text in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
