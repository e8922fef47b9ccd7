# SPDX-License-Identifier: GPL-2.0-or-later
"""Database files: what is read from a folder in whatever condition, and what is never lost."""

import logging
from pathlib import Path

import pytest
from dbd_disks import TouchyDisk, never

from openxt_core.errors import Unavailable
from openxt_dbd import json_text
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files, Loaded, digest, read_binary
from openxt_dbd.placement import MAIN, Unit
from openxt_dbd.tree import FilePtr, find, names, read

NOON = 1442318400.0  # 2015-09-15 12:00:00 UTC
STAMP = "20150915T120000Z"


def put(folder: Path, contents: dict[str, str]) -> None:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def load(folder: Path) -> Loaded:
    return Files(Disk(folder), now=lambda: NOON).load()


def dump(loaded: Loaded) -> str:
    return json_text.dumps(loaded.root).decode()


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_folder_with_nothing_in_it_is_an_empty_tree(tmp_path: Path) -> None:
    assert dump(load(tmp_path)) == "{ }\n"


def test_files_are_put_together_at_their_places(tmp_path: Path) -> None:
    put(tmp_path, {"db": '{"a": 1}', "vms/x.db": '{"n": "1"}', "vms/y.db": '"leaf"', "dom-store/u.db": "{}"})
    loaded = load(tmp_path)
    assert names(loaded.root, ()) == ["a", "vm", "dom-store"]
    assert names(loaded.root, ("vm",)) == ["x", "y"]
    assert read(loaded.root, ("vm", "x", "n")) == "1"
    assert read(loaded.root, ("vm", "y")) == "leaf"
    assert loaded.digests[Unit("vm", "x")] == digest(b'{"n": "1"}')


def test_a_blank_file_is_an_entry_without_a_value(tmp_path: Path) -> None:
    put(tmp_path, {"db": " \n", "vms/x.db": "\n\n"})
    loaded = load(tmp_path)
    assert find(loaded.root, ("vm", "x")) is None
    assert listing(tmp_path) == {"db", "vms/x.db"}


def test_other_files_are_binary_nodes(tmp_path: Path) -> None:
    put(tmp_path, {"vms/icon.png": "PNG", "vms/x.db": "{}", "vms/half.tmp": "h"})
    root = load(tmp_path).root
    assert read(root, ("vm", "icon.png")) == f"file:{tmp_path}/vms/icon.png"
    assert read(root, ("vm", "half")) == f"file:{tmp_path}/vms/half.tmp"
    node = find(root, ("vm", "icon.png"))
    assert isinstance(node, FilePtr)
    assert read_binary(node) == b"PNG"


def test_a_binary_file_that_went_away_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="exception occured"):
        read_binary(FilePtr(str(tmp_path / "gone")))
    with pytest.raises(Unavailable):
        read_binary(FilePtr(str(tmp_path)))


def test_folders_below_a_rule_s_folder_are_inner_nodes(tmp_path: Path) -> None:
    put(tmp_path, {"vms/d/a.db": '{"k": "1"}', "vms/d/e/b.db": '"2"', "vms/d/pic": "P"})
    root = load(tmp_path).root
    assert read(root, ("vm", "d", "a", "k")) == "1"
    assert read(root, ("vm", "d", "e", "b")) == "2"
    assert read(root, ("vm", "d", "pic")) == f"file:{tmp_path}/vms/d/pic"


def test_the_saved_document_of_a_folder_wins_over_the_documents_in_it(tmp_path: Path) -> None:
    put(tmp_path, {"vms/d.db": '{"a": {"k": "new"}}', "vms/d/a.db": '{"k": "old"}', "vms/d/pic": "P"})
    root = load(tmp_path).root
    assert read(root, ("vm", "d", "a", "k")) == "new"
    assert read(root, ("vm", "d", "pic")).startswith("file:")


def test_a_document_wins_over_a_binary_file_of_its_name(tmp_path: Path) -> None:
    put(tmp_path, {"vms/x": "binary", "vms/x.db": '{"k": "v"}'})
    assert read(load(tmp_path).root, ("vm", "x", "k")) == "v"


@pytest.mark.parametrize("content", ["{", '{"a": 1} {}', "\x00\x00\x00", '{"a": "' + "\x00" * 9])
@pytest.mark.parametrize("name", ["db", "vms/x.db", "vms/d/z.db", "dom-store/u.db"])
def test_a_damaged_file_is_set_aside_and_reported_and_the_rest_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: str
) -> None:
    put(tmp_path, {"db": '{"a": "1"}', "vms/x.db": '{"n": "1"}', "vms/y.db": '{"n": "2"}', name: content})
    with caplog.at_level(logging.ERROR):
        root = load(tmp_path).root
    assert read(root, ("vm", "y", "n")) == "2"
    assert (tmp_path / f"{name}.bad-{STAMP}").read_text() == content
    assert not (tmp_path / name).exists()
    assert name in caplog.text


def test_a_bare_value_is_no_main_file(tmp_path: Path) -> None:
    put(tmp_path, {"db": '"x"'})
    assert dump(load(tmp_path)) == "{ }\n"
    assert listing(tmp_path) == {f"db.bad-{STAMP}"}


def test_what_was_set_aside_stays_and_is_no_node(tmp_path: Path) -> None:
    put(tmp_path, {"vms/x.db": "{", f"vms/x.db.bad-{STAMP}": "earlier"})
    assert dump(load(tmp_path)) == "{ }\n"
    assert dump(load(tmp_path)) == "{ }\n"
    assert listing(tmp_path) == {f"vms/x.db.bad-{STAMP}", f"vms/x.db.bad-{STAMP}.1"}


@pytest.mark.parametrize("name", ["db", "vms/x.db"])
def test_a_complete_temporary_file_takes_the_place_of_a_missing_one(tmp_path: Path, name: str) -> None:
    put(tmp_path, {f"{name}.tmp": '{"k": "v"}'})
    root = load(tmp_path).root
    assert read(root, ("k",) if name == "db" else ("vm", "x", "k")) == "v"
    assert listing(tmp_path) == {name}


@pytest.mark.parametrize("name", ["db", "vms/x.db"])
def test_half_a_temporary_file_is_set_aside(tmp_path: Path, name: str) -> None:
    put(tmp_path, {f"{name}.tmp": '{"k": '})
    assert dump(load(tmp_path)) == "{ }\n"
    assert listing(tmp_path) == {f"{name}.tmp.bad-{STAMP}"}


@pytest.mark.parametrize("name", ["db", "vms/x.db"])
def test_the_file_wins_over_its_temporary_one(tmp_path: Path, name: str) -> None:
    put(tmp_path, {name: '{"k": "v"}', f"{name}.tmp": '{"k": "w"}'})
    root = load(tmp_path).root
    assert read(root, ("k",) if name == "db" else ("vm", "x", "k")) == "v"
    assert listing(tmp_path) == {name}


def test_entries_of_vms_in_the_main_file_are_served_and_the_file_is_kept(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"db": '{"vm": {"x": {"k": "main"}, "y": {"k": "main"}, "a/b": 1}}', "vms/x.db": '{"k": "own"}'},
    )
    loaded = load(tmp_path)
    assert read(loaded.root, ("vm", "x", "k")) == "own"
    assert read(loaded.root, ("vm", "y", "k")) == "main"
    assert names(loaded.root, ("vm",)) == ["y", "x"]
    assert loaded.strays == {MAIN, Unit("vm", "y")}
    assert (tmp_path / f"db.bad-{STAMP}").read_bytes() == (tmp_path / "db").read_bytes()


def test_a_file_whose_name_is_not_text_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path, {"vms/x.db": "{}"})
    (tmp_path / "vms" / "\udcff.db").write_text("{}")
    assert names(load(tmp_path).root, ("vm",)) == ["x"]


def test_a_save_replaces_a_file_whole_and_syncs_before_it_does(tmp_path: Path) -> None:
    put(tmp_path, {"vms/x.db": "old", "vms/x.db.tmp": "something longer than what is saved"})
    disk = TouchyDisk(tmp_path, never)
    Files(disk).save(Unit("vm", "x"), b"new")
    assert (tmp_path / "vms/x.db").read_bytes() == b"new"
    assert listing(tmp_path) == {"vms/x.db"}
    assert disk.calls.index("sync") < disk.calls.index("rename")
    assert (tmp_path / "vms/x.db").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "vms").stat().st_mode & 0o777 == 0o755


def test_a_host_without_a_database_gets_the_default_one(tmp_path: Path) -> None:
    default = tmp_path / "default"
    default.write_text('{"db-version": "9"}')
    config = tmp_path / "deep" / "config"
    files = Files(Disk(config))
    files.seed(default)
    assert (config / "db").read_text() == '{"db-version": "9"}'
    (config / "db").write_text("{}")
    files.seed(default)
    assert (config / "db").read_text() == "{}"


def test_a_host_without_any_database_starts_empty(tmp_path: Path) -> None:
    Files(Disk(tmp_path / "config")).seed(tmp_path / "none")
    assert listing(tmp_path) == set()


def test_the_packaged_default_database_is_the_original_s() -> None:
    text = (Path(__file__).parents[3] / "etc" / "db.default").read_bytes()
    root = json_text.loads(text)
    assert read(root, ("db-version",)) == "9"
    assert read(root, ("xenmgr", "showMsgOnVmStart")) == "true"
    assert json_text.dumps(root) == text


def test_only_one_program_serves_a_folder(tmp_path: Path) -> None:
    Disk(tmp_path).lock()
    with pytest.raises(BlockingIOError, match="another dbd"):
        Disk(tmp_path).lock()
