# SPDX-License-Identifier: GPL-2.0-or-later
"""Our interface files describe the interfaces of OpenXT as they were in 2015, and six more.

`tests/golden/interfaces.json` holds those as facts: names, types, access, order, enumerations.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from openxt_core.spec import Arg, IdlFile, Interface
from openxt_idl.read import read_file

ROOT = Path(__file__).parents[2]
FACTS: dict[str, Any] = json.loads((ROOT / "tests/golden/interfaces.json").read_text())
FACTS.pop("_about")

# What is on the wire but in no interface file of the original.
EXTRA = {
    *("db_admin.xml", "db_history.xml", "db_transaction.xml", "db_transactions.xml", "db_watch.xml"),
    "rpc_proxy_identity.xml",
    "rpc_proxy_rules.xml",
    "status_tool.xml",
    "xenvm_notify.xml",
    "xenvm_task_list.xml",
    "xenmgr_v4v.xml",
    "xenmgr_vm_devices.xml",
    "xenmgr_vm_why.xml",
    "xenvm_tasks.xml",
    "xui_menu.xml",
}
DOCUMENTED = {
    *EXTRA,
    *("xenmgr.xml", "xenmgr_host.xml", "xenmgr_vm.xml", "vm_disk.xml", "vm_nic.xml"),
    *("db.xml", "rpc_proxy.xml", "xenvm.xml"),
}
SAME_AS = {"com.citrix.xenclient.xenmgr.vm.unrestricted": "com.citrix.xenclient.xenmgr.vm"}


def _args(args: tuple[Arg, ...]) -> list[dict[str, str]]:
    return [{"name": arg.name, "type": arg.type} for arg in args]


def _interface(interface: Interface) -> dict[str, Any]:
    return {
        "methods": [{"name": m.name, "in": _args(m.ins), "out": _args(m.outs)} for m in interface.methods],
        "properties": [{"name": p.name, "type": p.type, "access": p.access} for p in interface.properties],
        "signals": [{"name": s.name, "args": _args(s.args)} for s in interface.signals],
    }


def _facts(file: IdlFile) -> dict[str, Any]:
    return {
        "node": file.node or None,
        "enums": [
            {
                "name": enum.name,
                "type": enum.type,
                "values": [{"suffix": v.suffix, "value": str(v.value)} for v in enum.values],
            }
            for enum in file.enums
        ],
        "interfaces": {interface.name: _interface(interface) for interface in file.interfaces},
    }


def test_the_files_are_those_of_the_original_and_our_own() -> None:
    assert {path.name for path in (ROOT / "idl").glob("*")} == {*FACTS, *EXTRA}


@pytest.mark.parametrize("name", FACTS)
def test_a_file_describes_what_it_described_in_2015(name: str) -> None:
    assert _facts(read_file(ROOT / "idl" / name)) == FACTS[name]


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_every_member_of_what_we_serve_is_documented(name: str) -> None:
    interfaces = {each.name: each for each in read_file(ROOT / "idl" / name).interfaces}
    for interface in interfaces.values():
        elsewhere = interfaces.get(SAME_AS.get(interface.name, ""), Interface("none"))
        members = (*interface.methods, *interface.properties, *interface.signals)
        bare = [m.name for m in members if not m.doc and m.name not in elsewhere.property]
        assert (interface.name, interface.doc != "", bare) == (interface.name, True, [])


def test_unrestricted_has_the_properties_of_a_vm_and_two_more() -> None:
    interfaces = {each.name: each for each in read_file(ROOT / "idl" / "xenmgr_vm.xml").interfaces}
    ((unrestricted, restricted),) = SAME_AS.items()
    both = {
        name: {(p.name, p.type, p.access) for p in interfaces[name].properties}
        for name in (unrestricted, restricted)
    }
    assert both[unrestricted] - both[restricted] == {
        ("stubdom-cmdline", "s", "readwrite"),
        ("stubdom-memory", "i", "readwrite"),
    }
    assert both[restricted] <= both[unrestricted]


def test_every_task_of_a_monitor_takes_a_dictionary_and_answers_a_text() -> None:
    (tasks,) = read_file(ROOT / "idl" / "xenvm_tasks.xml").interfaces
    assert len(tasks.methods) == 38
    assert {(m.in_signature, m.out_signature) for m in tasks.methods} == {("a{ss}", "s")}
