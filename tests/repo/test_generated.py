# SPDX-License-Identifier: GPL-2.0-or-later
"""The generated package is what the interface files give today: nobody edited it, nobody forgot it."""

from pathlib import Path

from openxt_idl.__main__ import main
from openxt_xenmgr.properties import schema

ROOT = Path(__file__).parents[2]


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.py")}


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    assert main(["-o", str(tmp_path), *map(str, sorted((ROOT / "idl").glob("*.xml")))]) == 0
    fresh, committed = _contents(tmp_path), _contents(ROOT / "src" / "openxt_api")
    stale = sorted(name for name in fresh | committed if fresh.get(name) != committed.get(name))
    assert stale == [], "run `make idl`"


def test_the_clients_of_the_ui_are_fresh(tmp_path: Path) -> None:
    clients = ROOT / "uivm" / "js" / "clients"
    names = [path.name.removesuffix("_client.js") for path in clients.glob("*.js")]
    assert (
        main(["--javascript", "-o", str(tmp_path), *(str(ROOT / "idl" / f"{name}.xml") for name in names)])
        == 0
    )
    stale = [f.name for f in tmp_path.glob("*.js") if f.read_bytes() != (clients / f.name).read_bytes()]
    assert stale == [], "run `make idl`"


def test_the_database_schema_is_what_the_property_rows_give_today() -> None:
    committed = ROOT / "src" / "openxt_dbd" / "schema" / "vm.json"
    assert committed.read_text() == schema.text(), "run `make idl`"
