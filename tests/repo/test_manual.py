# SPDX-License-Identifier: GPL-2.0-or-later
"""Each program has a manual page, which says what its option table says today."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "docs" / "man"
sys.path.append(str(ROOT / "scripts"))

from manual.make import files  # noqa: E402  (found by the line above)
from manual.page import Page  # noqa: E402
from manual.pages import PAGES  # noqa: E402

PROGRAMS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.fixture(autouse=True)
def _a_real_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENXT_ROOT", raising=False)


def test_the_manual_is_fresh() -> None:
    made = files()
    committed = {str(file.relative_to(MANUAL)): file.read_text() for file in MANUAL.glob("man*/*")}
    stale = sorted(name for name in made | committed if made.get(name) != committed.get(name))
    assert stale == [], "run `make man`"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_has_a_page(program: str) -> None:
    assert any(program in (page.name, *page.also) for page in PAGES), (
        f"{program} has no manual page: give it a row in scripts/manual/pages.py, then run `make man`"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_says_what_it_does(page: Page) -> None:
    rows = [*page.options, *(row for _, _, rows in page.commands for row in rows)]
    assert [typed for typed, meaning in rows if not meaning] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_sees_pages_that_there_are(page: Page) -> None:
    names = {f"{name}({one.section})" for one in PAGES for name in (one.name, *one.also)}
    assert set(page.see) <= names


def test_groff_has_nothing_to_say_about_any_page() -> None:
    pages = sorted(str(file.relative_to(MANUAL)) for file in MANUAL.glob("man*/*"))
    for page in pages:
        shown = subprocess.run(
            ["groff", "-ww", "-man", "-Tutf8", "-P-cbou", page],
            cwd=MANUAL,
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stderr == "", page
        assert "NAME" in shown.stdout, page
