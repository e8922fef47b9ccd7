# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the methods of `/`.  Numbers of errors: **Source:** OpenXT xenmgr, 2015."""

import asyncio
from pathlib import Path
from typing import Any

from member_givens import creation_forbidden, programs_fail, runs
from member_methods import GONE, SOME_UUID, Stage, fault, faults, works
from viptables import Viptables

from openxt_api.xenmgr import (
    POLICY,
    XENMGR,
    XENMGR_DIAG,
    XENMGR_GUESTREQ,
    XENMGR_TESTING,
    XENMGR_UNRESTRICTED,
)
from openxt_api.xenmgr_v4v import XENMGR_V4V

UIVM = "/vm/00000000_0000_0000_0000_000000000001"
NDVM = "/vm/00000000_0000_0000_0000_000000000002"
MAX_SCRIPTS = 1000
SLOTS = 9


# com.citrix.xenclient.xenmgr


@works(XENMGR, "list_vms")
async def _list_vms(s: Stage) -> None:
    assert sorted(await s.call()) == sorted([UIVM, NDVM, s.vm])


@works(XENMGR, "list_domids")
async def _list_domids(s: Stage) -> None:
    assert await s.call() == []
    domid = await s.start()
    assert await s.call() == [domid]


@works(XENMGR, "list_templates", "list_child_service_vm_templates", "list_ui_templates")
async def _templates(s: Stage) -> None:
    folder = s.file("/usr/share/xenmgr-1.0/templates/default")
    assert folder.is_dir()
    (folder / "child-x").write_text('{"type": "svc"}')
    try:
        found = await s.call()
    finally:
        (folder / "child-x").unlink()
    if s.method.name == "list_templates":
        assert {"new-vm", "new-vm-linux", "child-x"} <= set(found)
        assert not [name for name in found if name.startswith("service-")]
    elif s.method.name == "list_ui_templates":
        assert {one["template"] for one in found} >= {"new-vm"}
        assert {key for one in found for key in one} == {"template", "description"}
    else:
        assert found == ["x"]


@works(XENMGR, "list_extension_packs")
async def _packs(s: Stage) -> None:
    assert await s.call() == []
    await s.it.db("write", "/extpack/one/vendor", "Acme")
    (pack,) = await s.call()
    assert (pack["id"], pack["vendor"], pack["image"]) == ("one", "Acme", "")


@works(XENMGR, "find_vm_by_uuid")
async def _find_by_uuid(s: Stage) -> None:
    assert await s.call(s.uuid) == s.vm
    assert await s.call(s.uuid.upper()) == s.vm


@works(XENMGR, "find_vm_by_domid")
async def _find_by_domid(s: Stage) -> None:
    assert await s.call(await s.start()) == s.vm


async def is_new_vm(s: Stage, path: str, slot: int = 2) -> None:
    assert path in await s.it.root("list_vms")
    assert await s.it.get(path, "slot") == slot
    assert await s.it.get(path, "seamless-id") == s.it.uuid(path)
    await s.it.until_told("vm_created", path)


@works(XENMGR, "create_vm")
async def _create_vm(s: Stage) -> None:
    path = await s.call()
    await is_new_vm(s, path)
    assert await s.it.get(path, "name") == f"name-{s.it.uuid(path)}"


@works(XENMGR, "create_vm_with_template")
async def _create_with_template(s: Stage) -> None:
    path = await s.call("new-vm-linux")
    await is_new_vm(s, path)
    assert await s.it.get(path, "os") == "linux"
    blank = await s.call(" ")
    assert await s.it.get(blank, "memory") == 0


@works(XENMGR, "create_vm_with_template_and_uuid")
async def _create_with_uuid(s: Stage) -> None:
    path = await s.call("new-vm", SOME_UUID)
    assert s.it.uuid(path) == SOME_UUID
    await is_new_vm(s, path)


@works(XENMGR, "create_vm_with_template_and_json")
async def _create_with_json(s: Stage) -> None:
    path = await s.call("new-vm", '{"name": "J", "config": {"memory": 2048}}')
    await is_new_vm(s, path)
    assert (await s.it.get(path, "name"), await s.it.get(path, "memory")) == ("J", 2048)


@works(XENMGR, "create_vm_with_ui")
async def _create_with_ui(s: Stage) -> None:
    path = await s.call("new-vm", "Work", "a description", "icons/x.png")
    await is_new_vm(s, path)
    names = ("name", "description", "image-path")
    assert [await s.it.get(path, name) for name in names] == ["Work", "a description", "icons/x.png"]


@works(XENMGR, "create_vhd")
async def _create_vhd(s: Stage) -> None:
    image = Path(await s.call(80))
    assert image.is_relative_to(s.file("/storage/disks"))
    assert image.exists()
    assert s.asked() == [f"vhd-util create -s 80 -n {image}"]


async def slots_taken(s: Stage) -> None:
    for _ in range(SLOTS - 1):
        await s.it.root("create_vm")


faults(
    XENMGR,
    list_vms=(),
    list_domids=(),
    list_templates=(),
    list_child_service_vm_templates=(),
    list_ui_templates=(),
    list_extension_packs=(),
    find_vm_by_uuid=(fault("there is no VM", SOME_UUID), fault("not a uuid", "../x")),
    find_vm_by_domid=(fault("no VM has domain 99", 99), fault("no VM has domain -1", -1)),
    create_vm=(fault("220:", given=creation_forbidden), fault("205:", given=slots_taken)),
    create_vm_with_template=(
        fault("220:", "new-vm", given=creation_forbidden),
        fault("205:", "new-vm", given=slots_taken),
        fault("223:IO error", "nonesuch"),
        fault("not the name of a template", "../service-uivm"),
    ),
    create_vm_with_template_and_uuid=(
        fault("220:", "new-vm", SOME_UUID, given=creation_forbidden),
        fault("not a uuid", "new-vm", "x"),
        fault("there is a VM", "new-vm", lambda s: s.uuid),
    ),
    create_vm_with_template_and_json=(
        fault("220:", "new-vm", "{}", given=creation_forbidden),
        fault("malformed JSON", "new-vm", "{"),
        fault("a JSON object is expected", "new-vm", "[]"),
        fault("config/memory", "new-vm", '{"config": {"memory": "much"}}'),
        fault("config/vcpus", "new-vm", '{"config": {"vcpus": 0}}'),
        fault("not a uuid", "new-vm", '{"uuid": "x"}'),
    ),
    create_vm_with_ui=(
        fault("220:", "new-vm", "n", "d", "i", given=creation_forbidden),
        fault("223:IO error", "nonesuch", "n", "d", "i"),
    ),
    create_vhd=(
        fault("size_mb cannot be 0", 0),
        fault("size_mb cannot be -1", -1),
        fault("223:IO error", 1, given=programs_fail),
    ),
)


# Our own: com.citrix.xenclient.xenmgr.v4v


def viptables(s: Stage) -> Viptables:
    made = Viptables(s.it.stand_ins)
    made.install()
    return made


@works(XENMGR_V4V, "status", "list_openings", "settle")
async def _firewall(s: Stage) -> None:
    async def ask(member: str) -> Any:
        return await s.it.call("/", XENMGR_V4V.name, member)

    await s.start()
    openings = await ask("list_openings")
    assert {owner for _, owner, _ in openings} == {s.uuid}
    assert (await ask("status"))["enforced"] == "false"
    table = viptables(s)
    await ask("settle")
    status = await ask("status")
    assert (status["enabled"], status["enforced"], status["openings"]) == ("true", "true", str(len(openings)))
    assert len(table.table()) == len(openings) + 2


async def viptables_fails(s: Stage) -> None:
    await s.start()
    viptables(s).fail_on("-F")


faults(
    XENMGR_V4V,
    status=(),
    list_openings=(),
    settle=(fault("223:IO error", given=viptables_fails),),
)


# com.citrix.xenclient.policy


@works(POLICY, "enforce", "retrieve")
async def _policy(s: Stage) -> None:
    async def policy(member: str, *texts: str) -> Any:
        return await s.it.call("/", POLICY.name, member, "s" * len(texts), *texts)

    assert await policy("retrieve", s.uuid) == ""
    await policy("enforce", s.uuid, "block-cd-rec; block-modify-vm-settings;nonsense")
    assert await policy("retrieve", s.uuid) == "block-cd-rec;block-modify-vm-settings"
    assert await s.it.db("read", f"/vm/{s.uuid}/policies/cd-rec") == "false"
    await policy("enforce", s.uuid, "")
    assert await policy("retrieve", s.uuid) == ""


faults(
    POLICY,
    enforce=(fault("there is no VM", SOME_UUID, ""), fault("not a uuid", "x", "")),
    retrieve=(fault("there is no VM", SOME_UUID), fault("not a uuid", "x")),
)


# com.citrix.xenclient.xenmgr.diag


async def collecting(s: Stage) -> "asyncio.Task[Any]":
    """A collection that waits for one guest."""
    await s.it.set(s.vm, "pv-addons", "b", True)
    await s.start()
    saving = asyncio.create_task(s.it.call("/", XENMGR_DIAG.name, "save", "s", "all"))
    await s.it.until(lambda: ("gather_request", ["all"]) in s.it.signals)
    return saving


@works(XENMGR_DIAG, "save", "gather")
async def _gather(s: Stage) -> None:
    saving = await collecting(s)
    await s.it.call("/", XENMGR_DIAG.name, "gather", "ss", "a.log", "6869")
    folder = Path(await saving)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"a.log": "hi"}


@works(XENMGR_DIAG, "create_status_report")
async def _status_report(s: Stage) -> None:
    assert await s.call(True, False, "a < b", "d", "s", "t") == "/tmp/report.tgz"
    assert s.asked() == ["status-tool --screenshots --no-vm-diagnostics --quiet --print-tarball"]


@works(XENMGR_DIAG, "status_report_screen")
async def _screen(s: Stage) -> None:
    await s.it.set(s.vm, "provides-graphics-fallback", "b", True)
    node = f"/local/domain/{await s.start()}/report/state"
    for show, state in ((True, "1"), (False, "0")):
        await s.call(show)
        assert await s.it.house.xenstore.read(node) == state


async def collection_runs(s: Stage) -> None:
    saving = await collecting(s)

    async def end() -> None:
        await s.it.call("/", XENMGR_DIAG.name, "gather", "ss", "end.log", "00")
        await saving

    s.ends.append(end)


faults(
    XENMGR_DIAG,
    save=(),
    gather=(
        fault("216:", "a.log", "00"),
        fault("a bare file name is expected", "../x", "00", given=collection_runs),
        fault("hexadecimal digits are expected", "x", "0", given=collection_runs),
    ),
    create_status_report=(fault("223:IO error", True, True, "", "", "", "", given=programs_fail),),
    status_report_screen=(fault("no running VM provides the graphics", True),),
    taas_authenticate_credentials=(),
    taas_upload=(),
    taas_agree_terms=(),
)
GONE |= {
    (XENMGR_DIAG.name, "taas_authenticate_credentials"): ("u", "p"),
    (XENMGR_DIAG.name, "taas_upload"): ("u", "p", "c", "f"),
    (XENMGR_DIAG.name, "taas_agree_terms"): ("u", "p", "1"),
}


# …testing, …unrestricted, …guestreq


@works(XENMGR_TESTING, "script_queue", "script_dequeue")
async def _scripts(s: Stage) -> None:
    async def ask(member: str, *texts: str) -> Any:
        return await s.it.call("/", XENMGR_TESTING.name, member, "s" * len(texts), *texts)

    first = asyncio.create_task(ask("script_dequeue"))  # waits
    for script in ("one", "two"):
        await ask("script_queue", script)
    assert [await first, await ask("script_dequeue")] == ["one", "two"]


async def queue_full(s: Stage) -> None:
    for _ in range(MAX_SCRIPTS):
        await s.it.call("/", XENMGR_TESTING.name, "script_queue", "s", "x")


faults(
    XENMGR_TESTING,
    script_queue=(fault(f"{MAX_SCRIPTS} scripts wait already", "x", given=queue_full),),
    script_dequeue=(),
)


@works(XENMGR_UNRESTRICTED, "unrestricted_create_vm")
async def _free_create(s: Stage) -> None:
    await creation_forbidden(s)
    await is_new_vm(s, await s.call())


@works(XENMGR_UNRESTRICTED, "unrestricted_create_vm_with_template_and_json")
async def _free_create_with_json(s: Stage) -> None:
    await creation_forbidden(s)
    path = await s.call("new-vm", '{"name": "free"}')
    await is_new_vm(s, path)
    assert await s.it.get(path, "name") == "free"


@works(XENMGR_UNRESTRICTED, "unrestricted_delete_vm")
async def _free_delete(s: Stage) -> None:
    await s.it.db("write", "/vm-delete-disallowed", "true")
    await s.call(s.uuid)
    await s.it.until_told("vm_deleted", s.vm)
    assert s.vm not in await s.it.root("list_vms")


faults(
    XENMGR_UNRESTRICTED,
    unrestricted_create_vm=(fault("205:", given=slots_taken),),
    unrestricted_create_vm_with_template_and_json=(
        fault("223:IO error", "nonesuch", ""),
        fault("malformed JSON", "new-vm", "{"),
    ),
    unrestricted_delete_vm=(
        fault("there is no VM", SOME_UUID),
        fault("not a uuid", "x"),
        fault("204:", lambda s: s.uuid, given=runs),
    ),
)


@works(XENMGR_GUESTREQ, "request_attention")
async def _attention(s: Stage) -> None:
    await s.call()  # dom0 is no guest; how a guest asks is among the signals
    assert s.it.count("requested_attention", s.vm) == 0


faults(XENMGR_GUESTREQ, request_attention=())
