# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command xc-rpcgen promises: files, exit status, and nothing half written."""

from pathlib import Path

import pytest

from openxt_idl.__main__ import main
from openxt_idl.settings import CLIENT_ONLY, NOT_MADE

GOOD = '<node><interface name="a.lamp"><method name="on"/><signal name="off"/></interface></node>'


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "Two-Lamps.xml"
    path.write_text(GOOD)
    return path


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*")) if folder.exists() else []


def test_a_package_of_both_sides_is_the_default(good: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert main(["-o", str(out), str(good)]) == 0
    assert written(out) == ["__init__.py", "two_lamps.py"]
    text = (out / "two_lamps.py").read_text()
    assert all(name in text for name in ("class ALamp(", "class ALampClient(", "class ALampSignals("))


def test_running_twice_changes_nothing_and_keeps_the_package_file(good: Path, tmp_path: Path) -> None:
    main(["-o", str(tmp_path / "out"), str(good)])
    before = (tmp_path / "out" / "two_lamps.py").read_bytes()
    (tmp_path / "out" / "__init__.py").write_text("# ours\n")
    assert main(["-o", str(tmp_path / "out"), "--python", str(good)]) == 0
    assert (tmp_path / "out" / "two_lamps.py").read_bytes() == before
    assert (tmp_path / "out" / "__init__.py").read_text() == "# ours\n"


@pytest.mark.parametrize(("options", "client"), [(["-c"], True), (["-s"], False), (["-c", "-s"], False)])
def test_one_side_can_be_chosen_and_server_wins(
    good: Path, tmp_path: Path, options: list[str], client: bool
) -> None:
    assert main([*options, "-o", str(tmp_path / "out"), str(good)]) == 0
    text = (tmp_path / "out" / "two_lamps.py").read_text()
    assert ("class ALampClient(" in text) is client
    assert ("class ALamp(" in text) is not client


def test_the_last_of_a_repeated_option_wins(good: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["-n", "first", "-n", "second", "-o", "/nowhere", "-o", str(out), str(good)]) == 0
    assert written(out) == ["__init__.py", "second.py"]


def test_docs_are_pages(good: Path, tmp_path: Path) -> None:
    assert main(["--docs", "-o", str(tmp_path / "out"), str(good)]) == 0
    assert written(tmp_path / "out") == ["two_lamps.md"]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("javascript", ["two_lamps_client.js"]),
        ("typescript", ["two_lamps_client.d.ts", "xuidbus.d.ts"]),
        ("c", ["two_lamps_client.h"]),
        ("html", ["index.html", "two_lamps.html"]),
    ],
)
def test_each_target_writes_its_files(good: Path, tmp_path: Path, target: str, names: list[str]) -> None:
    assert main([f"--{target}", "-c", "-o", str(tmp_path / "out"), str(good)]) == 0
    assert written(tmp_path / "out") == names


@pytest.mark.parametrize("target", NOT_MADE)
def test_other_targets_are_refused_with_the_reason(
    good: Path, tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--{target}", "-o", str(tmp_path / "out"), str(good)]) == 2
    assert capsys.readouterr().err == f"xc-rpcgen: --{target}: {NOT_MADE[target]}\n"
    assert written(tmp_path / "out") == []


@pytest.mark.parametrize("target", CLIENT_ONLY)
def test_a_server_is_refused_where_there_is_none(good: Path, tmp_path: Path, target: str) -> None:
    assert main([f"--{target}", "-s", "-o", str(tmp_path / "out"), str(good)]) == 2
    assert written(tmp_path / "out") == []


@pytest.mark.parametrize("arguments", [[], ["--odd", "x.xml"]])
def test_a_wrong_command_line_ends_with_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("options", [["-n", "both"], ["-n", "no module"]])
def test_an_output_name_that_cannot_be_is_refused(good: Path, options: list[str]) -> None:
    assert main([*options, str(good), str(good)]) == 2


def test_one_bad_file_means_no_file_is_written(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.xml"
    bad.write_text("<node><methode/></node>")
    assert main(["-o", str(tmp_path / "out"), str(good), str(bad)]) == 1
    assert capsys.readouterr().err == f"xc-rpcgen: {bad}: node: unknown element 'methode'\n"
    assert written(tmp_path / "out") == []


def test_a_folder_that_cannot_be_made_is_an_error(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-o", str(good), str(good)]) == 1
    assert str(good) in capsys.readouterr().err
