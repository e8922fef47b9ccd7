# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: what is printed, and with which status it ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openxt_core.errors import RemoteError
from openxt_core.ids import DBD_NAME
from openxt_dbd import db_cmd
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.journal import Journal
from openxt_dbd.path import parse
from openxt_dbd.store import Database

CONTENT = '{"a": {"b": "v", "e": {}, "z": null}, "l": [1], "i": 5, "f": 1.5, "t": true, "q": "a\\"b"}'


@pytest.fixture
def database(tmp_path: Path) -> Database:
    (tmp_path / "db").write_text(CONTENT)
    (tmp_path / "vms").mkdir()
    (tmp_path / "vms" / "x.db").write_text("{}")
    (tmp_path / "vms" / "icon").write_bytes(b"\x00\xff")
    database = Database(Files(Disk(tmp_path)), Journal(Disk(tmp_path)))
    database.load()
    return database


@pytest.fixture
def run(database: Database) -> Callable[..., int]:
    members: dict[str, Callable[..., object]] = {
        "read": database.read,
        "write": database.write,
        "rm": database.rm,
        "exists": database.exists,
        "list": database.names,
        "dump": database.dump,
        "read_binary": lambda path: Path(database.binary(path).file).read_bytes(),
    }

    def lend(use: Callable[[Any], int]) -> int:
        return use(lambda member, path, *rest: members[member](parse(path), *rest))

    return lambda *argv: db_cmd.run(argv, lend)


@pytest.mark.parametrize(
    ("argv", "output", "status"),
    [
        (("db-read", "/a/b"), "v\n", 0),
        (("/usr/bin/db-read", "/i"), "5\n", 0),
        (("db-cmd", "read", "/none"), "\n", 0),
        (("db-cmd", "nodes", "/a"), "b e z\n", 0),
        (("db-nodes", "/none"), "\n", 0),
        (("db-exists", "/a"), "true\n", 0),
        (("db-exists", "/none"), "false\n", 0),
        (("db-exists", "--status", "/a"), "true\n", 0),
        (("db-exists", "--status", "/none"), "false\n", 1),
        (("db-rm", "/"), "bad path\n", 1),
        (("db-rm", "/none"), "", 0),
        (("db-ls", "/a"), 'a =\n b = "v"\n e = ""\n z = ""\n', 0),
        (("db-ls", "/a/b"), 'b = "v"\n', 0),
        (("db-ls", "/none"), 'none = ""\n', 0),
        (("db-ls", "-f", "/a"), '/a =\n/a/b = "v"\n/a/e = ""\n/a/z = ""\n', 0),
        (("db-ls", "-f", "/a/"), '/a/ =\n/a/b = "v"\n/a/e = ""\n/a/z = ""\n', 0),
        (("db-cmd",), "Usage: db-cmd <cmd> <parameters>\n", 1),
        (("db-cmd", "nonsense", "/a"), "Usage: db-cmd <cmd> <parameters>\n", 1),
        (("db-cmd", "read"), "Usage: db-cmd <cmd> <parameters>\n", 1),
        (("db-read", "/a", "/b"), "Usage: db-cmd <cmd> <parameters>\n", 1),
        (("db-exists",), "Usage: db-cmd <cmd> <parameters>\n", 1),
        (("db-ls", "/a", "/b"), "Usage: db-cmd <cmd> <parameters>\n", 1),
    ],
)
def test_a_command_prints_and_ends(
    run: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
    output: str,
    status: int,
) -> None:
    assert run(*argv) == status
    db_cmd.sys.stdout.flush()
    assert capfd.readouterr().out == output


def test_the_whole_tree_is_listed_from_a_nameless_root(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str], database: Database, tmp_path: Path
) -> None:
    assert run("db-ls") == 0
    db_cmd.sys.stdout.flush()
    assert capfd.readouterr().out == (
        ' =\n a =\n  b = "v"\n  e = ""\n  z = ""\n l = ""\n i = "5"\n f = "1.500000"\n t = "true"\n'
        f' q = "a"b"\n vm =\n  x = ""\n  icon = "file:{tmp_path}/vms/icon"\n'
    )


def test_write_and_rm_change_the_database_and_print_nothing(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str], database: Database
) -> None:
    assert run("db-write", "/new/key", "value") == 0
    assert database.read(("new", "key")) == "value"
    assert run("db-rm", "/new") == 0
    assert not database.exists(("new",))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("path", ["/", "", "/vm", "vm/", "//vm//"])
def test_write_refuses_to_replace_everything(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str], path: str
) -> None:
    assert run("db-write", path, "x") == 1
    assert capfd.readouterr() == ("", "Nope, not doing that.\n")


def test_cat_gives_the_bytes_as_they_are(
    run: Callable[..., int], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run("db-cat", "/vm/icon") == 0
    db_cmd.sys.stdout.flush()
    assert capfdbinary.readouterr().out == b"\x00\xff"


def test_an_error_of_the_database_reaches_the_caller() -> None:
    def lend(use: Callable[[Any], int]) -> int:
        raise RemoteError("org.freedesktop.DBus.Error.Failed", "not a binary node")

    with pytest.raises(RemoteError, match="not a binary node"):
        db_cmd.run(("db-cat", "/x"), lend)


def test_the_name_on_the_bus_is_the_one_that_all_use() -> None:
    assert db_cmd.DATABASE == DBD_NAME
