# SPDX-License-Identifier: GPL-2.0-or-later
"""The builder of the native module says what it lacks, before it starts."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BUILD = Path(__file__).parents[3] / "native/xenctrl_cffi/build.py"


@pytest.fixture
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("xenctrl_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_missing_header_ends_in_one_line_with_the_package(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "HEADERS", (("no-such-header.h", "libxen-dev"),))
    monkeypatch.setattr("sys.argv", ["build.py"])
    assert build.main() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "libxen-dev" in said.err


@pytest.mark.parametrize("door", ["XENCTRL", "XENVCHAN"])
def test_a_module_goes_where_it_was_asked_to_go_and_leaves_nothing_else(
    build: ModuleType, tmp_path: Path, door: str
) -> None:
    missing = build.missing_package()
    if missing is not None:
        pytest.skip(f"Debian package {missing} is not installed")
    wanted = getattr(build, door)
    built = build.compile_module(wanted, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [built]
    assert built.name.startswith(f"{wanted.module}.")
