# SPDX-License-Identifier: GPL-2.0-or-later
"""Every property of xenmgr over a real bus: read, written, seen in dbd, refused.

The cases come from the interface files; one without a row in the tables fails.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from member_machine import restore
from member_more_rows import CONFIG_TABLE, DISK_TABLE, HOST_TABLE, NIC_TABLE, UI_TABLE
from member_rows import WRONG_TYPE, Barred, Kept, Row, Seen, Table, Told, View
from member_tables import INTERFACES
from member_vm_rows import VM_TABLE
from xenmgr_house import PROPERTIES, XENMGR, Desk, refused

from openxt_core.errors import RemoteError
from openxt_core.signature import Variant, check, single
from openxt_core.spec import Interface, Property

TABLES: Mapping[str, Table] = {
    f"{XENMGR}.config": CONFIG_TABLE,
    f"{XENMGR}.config.ui": UI_TABLE,
    f"{XENMGR}.host": HOST_TABLE,
    f"{XENMGR}.vm": VM_TABLE,
    f"{XENMGR}.vm.unrestricted": VM_TABLE,
    "com.citrix.xenclient.vmdisk": DISK_TABLE,
    "com.citrix.xenclient.vmnic": NIC_TABLE,
}
in_module = pytest.mark.asyncio(loop_scope="module")

GUARDED, UNGUARDED = f"{XENMGR}.vm", f"{XENMGR}.vm.unrestricted"
"""The interface that policy guards, and the one with the same properties that it does not."""


@dataclass(frozen=True)
class Case:
    """One property of one interface."""

    interface: Interface
    declared: Property

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def row(self) -> Row | None:
        return TABLES.get(self.interface.name, {}).get(self.name)

    def __str__(self) -> str:
        return f"{self.interface.name.rpartition('xenclient.')[2]}-{self.name}"


CASES = [Case(face, row) for face in INTERFACES for row in face.properties]
WRITABLE = [case for case in CASES if isinstance(case.row, Kept | View)]


def cases(*kinds: type) -> Any:
    return pytest.mark.parametrize("case", [one for one in CASES if isinstance(one.row, kinds)], ids=str)


@dataclass(frozen=True)
class Scene:
    """The VM that all is tried on, and where each interface is."""

    it: Desk
    vm: str
    disk: str
    nic: str

    def path(self, case: Case) -> str:
        word = case.interface.name.rpartition("xenclient.")[2]
        kinds = {"vmdisk": self.disk, "vmnic": self.nic, "xenmgr.host": "/host"}
        return kinds.get(word, self.vm if word.startswith("xenmgr.vm") else "/")

    def key(self, case: Case, key: str) -> str:
        """The whole path in the database."""
        places = {self.vm: "", self.disk: "config/disk/1/", self.nic: "config/nic/0/"}
        path = self.path(case)
        top = f"/vm/{self.it.uuid(self.vm)}/{places[path]}" if path in places else "/"
        return top + key

    async def get(self, case: Case) -> Any:
        return await self.it.get(self.path(case), case.name, case.interface.name)

    async def set(self, case: Case, value: Any, kind: str = "") -> None:
        signature = kind or case.declared.type
        await self.it.set(self.path(case), case.name, signature, value, case.interface.name)

    async def whole(self, case: Case) -> dict[str, Any]:
        return await self.it.get_all(self.path(case), case.interface)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(furnished: Desk) -> Scene:
    """A VM of an empty template, with an empty CD drive, a disk and two cards that need no other VM."""
    it, dom0 = furnished, "00000000-0000-0000-0000-000000000000"
    image = it.places.storage / "disks/some.vhd"
    image.write_bytes(bytes(64))
    cards = {
        "0": {"id": "0", "network": "/wired/0/bridged", "backend-uuid": dom0},
        "1": {"id": "1", "network": "/wireless/0/shared", "backend-uuid": dom0, "wireless-driver": "true"},
    }
    disks = {
        "0": {"path": "/storage/isos/null.iso", "type": "file", "device": "hdc", "devtype": "cdrom"},
        "1": {"path": str(image), "type": "vhd", "mode": "w", "device": "hda", "devtype": "disk"},
    }
    document = {"name": "members", "slot": "0", "config": {"disk": disks, "nic": cards}}
    path = await it.root("create_vm_with_template_and_json", "", json.dumps(document))
    return Scene(it, path, f"{path}/disk/1", f"{path}/nic/0")


@pytest_asyncio.fixture(loop_scope="module")
async def scene(stage: Scene) -> AsyncIterator[Scene]:
    stage.it.signals.clear()
    before = await stage.it.db("dump", "/")
    yield stage
    await restore(stage.it, before)


# Every property


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_property_has_a_row_that_fits_its_access(case: Case) -> None:
    assert case.row is not None, f"{case} has no row in the tables"
    assert case.declared.writable == isinstance(case.row, Kept | View | Barred)


def test_the_tables_have_rows_of_declared_properties_only() -> None:
    declared = {(case.interface.name, case.name) for case in CASES}
    only_unguarded = {(GUARDED, name) for name in ("stubdom-memory", "stubdom-cmdline")}
    rows = {(interface, name) for interface, table in TABLES.items() for name in table}
    assert rows - declared == only_unguarded


def test_the_interface_files_declare_what_the_original_had() -> None:
    assert len(CASES) == 343


def reads_as_new(row: Row | None, value: Any) -> bool:
    """What the row says of a property that nobody has touched."""
    return row.is_right(value) if isinstance(row, Seen) else row is not None and value == row.default


@pytest.mark.parametrize("case", CASES, ids=str)
@in_module
async def test_its_default_or_what_is_so_is_read_and_get_all_has_the_same(case: Case, stage: Scene) -> None:
    value = await stage.get(case)
    check(value, single(case.declared.type))
    assert reads_as_new(case.row, value)
    assert (await stage.whole(case))[case.name] == value or case.name in ("free-mem", "free-storage")


@pytest.mark.parametrize("case", CASES, ids=str)
@in_module
async def test_a_value_of_another_type_is_refused_and_changes_nothing(case: Case, scene: Scene) -> None:
    before = await scene.it.db("dump", "/")
    kind, value = WRONG_TYPE.get(case.declared.type, ("i", 7))
    with pytest.raises(RemoteError) as wrong:
        await scene.set(case, value, kind)
    expected = "InvalidArgs" if case.declared.writable else "PropertyReadOnly"
    assert wrong.value.name.endswith(expected)
    assert case.name in str(wrong.value)
    assert await scene.it.db("dump", "/") == before


# Writable ones


@pytest.mark.parametrize("case", WRITABLE, ids=str)
@in_module
async def test_a_written_value_is_read_back_announced_and_kept_under_its_key(
    case: Case, scene: Scene
) -> None:
    row = case.row
    assert isinstance(row, Kept | View)
    before = await scene.get(case)
    await scene.set(case, row.valid)
    expected = row.reads if isinstance(row, Kept) else row.valid
    assert await scene.get(case) == expected
    assert (await scene.whole(case))[case.name] == expected
    assert scene.it.changed_properties(case.interface.name)[case.name] == expected
    if isinstance(row, Kept):
        assert await scene.it.db("read", scene.key(case, row.key)) == row.text
        assert await scene.it.db("exists", scene.key(case, row.key))
    else:  # not everything of it is in the database
        with_way_back = case.name != "ui-ready"  # true is for good, until the host boots
        await scene.set(case, before)
        assert (await scene.get(case) == before) is with_way_back


@cases(Kept, Told)
@in_module
async def test_what_others_write_under_the_key_is_read(case: Case, scene: Scene) -> None:
    row = case.row
    assert isinstance(row, Kept | Told)
    await scene.it.db("write", scene.key(case, row.key), row.text or "")
    assert await scene.get(case) == (row.reads if isinstance(row, Kept) else row.value)


@pytest.mark.parametrize(
    "case", [case for case in WRITABLE if isinstance(case.row, Kept | View) and case.row.refused], ids=str
)
@in_module
async def test_values_that_cannot_be_are_refused_by_name_and_change_nothing(case: Case, scene: Scene) -> None:
    assert isinstance(case.row, Kept | View)
    before = await scene.it.db("dump", "/")
    for value in case.row.refused:
        text = await scene.it.fails(scene.set(case, value))
        assert case.name in text
        assert repr(str(value)[:60]) in text
    assert await scene.it.db("dump", "/") == before
    assert scene.it.changed_properties(case.interface.name) == {}


@cases(Barred)
@in_module
async def test_what_cannot_be_written_here_says_why(case: Case, scene: Scene) -> None:
    assert isinstance(case.row, Barred)
    assert case.row.why in await scene.it.fails(scene.set(case, case.row.valid))
    assert await scene.get(case) == case.row.default


@pytest.mark.parametrize(
    "case",
    [case for case in WRITABLE if case.interface.name in (GUARDED, UNGUARDED)],
    ids=str,
)
@in_module
async def test_policy_forbids_it_on_the_guarded_interface_alone(case: Case, scene: Scene) -> None:
    row = case.row
    assert isinstance(row, Kept | View)
    await scene.it.db("write", scene.key(case, "policies/modify-vm-settings"), "false")
    before = await scene.it.db("dump", "/")
    if case.interface.name == GUARDED:
        assert (await scene.it.fails(scene.set(case, row.valid))).startswith(refused(202))
        assert await scene.it.db("dump", "/") == before
    else:
        await scene.set(case, row.valid)
        assert await scene.get(case) == (row.reads if isinstance(row, Kept) else row.valid)


# No property


@pytest.mark.parametrize("interface", TABLES)
@in_module
async def test_an_unknown_property_is_told_as_such(interface: str, stage: Scene) -> None:
    (case, *_) = [one for one in CASES if one.interface.name == interface]
    path = stage.path(case)
    for member, signature, more in (("Get", "ss", ()), ("Set", "ssv", (Variant("s", "x"),))):
        with pytest.raises(RemoteError) as wrong:
            await stage.it.call(path, PROPERTIES, member, signature, interface, "nonesuch", *more)
        assert wrong.value.name.endswith("UnknownProperty")
