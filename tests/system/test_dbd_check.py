# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM that makes no sense at all: db-check tells, no daemon stops, and the other VMs work."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dbd_host import Host, Start
from houses import House, house
from xenmgr_house import PROGRAMS, Desk

from openxt_api.xenmgr_vm import XENMGR_VM
from openxt_house.services import services
from openxt_xenmgr.properties.table import Joined, Stored
from openxt_xenmgr.properties.vm import STORED

BIN = Path(sys.executable).parent
BAD_UUIDS = [f"0000000{number}-bad0-bad0-bad0-bad0bad0bad0" for number in range(6)]


def all_wrong(value: Any) -> dict[str, Any]:
    """A VM with this value for every property."""
    whole: dict[str, Any] = {"config": {"disk": value, "nic": {"0": value, "x": value}, "pci": value}}
    for row in STORED:
        at = whole
        *above, last = row.key.split("/")
        for name in above:
            at = at.setdefault(name, {})
        at[last] = value
    return whole


BAD_VMS: list[Any] = [
    all_wrong({"deep": {"er": "x"}}),
    all_wrong([1, None]),
    all_wrong("nonsense"),
    all_wrong(-1.5),
    {"config": "a leaf", "v4v-firewall-rules": "a leaf", "firewall-rule": [1]},
    "a leaf",
]


async def checked(one: House, *words: str) -> tuple[int, str]:
    command = [BIN / "db-check", *words]
    environ = one.layout.environ()
    done = await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


async def test_vms_with_wrong_types_everywhere_stop_nobody() -> None:
    async with house(PROGRAMS - {"xenmgr"}) as opened:
        it = Desk(opened)
        await opened.xenstore.write("/local/domain/0/name", "Domain-0")
        assert await checked(opened) == (0, "")
        for uuid, vm in zip(BAD_UUIDS, BAD_VMS, strict=True):
            await it.db("inject", f"/vm/{uuid}", json.dumps(vm))
        await opened.supervisor.start(tuple(s for s in services(opened.layout) if s.name == "xenmgr"))

        status, text = await checked(opened)
        assert status == 1
        assert (
            f'{BAD_UUIDS[2]}/config/memory is "nonsense", expected a number from 0 to 16777216 (MiB)\n'
            in text
        )

        listed = await it.root("list_vms")
        for uuid in BAD_UUIDS[:5]:
            path = f"/vm/{uuid.replace('-', '_')}"
            assert path in listed
            properties = await it.get_all(path, XENMGR_VM)
            assert properties.keys() >= {row.name for row in STORED if isinstance(row, Stored | Joined)} - {
                "stubdom-memory",
                "stubdom-cmdline",
            }
        good = await it.create()
        await it.vm(good, "start")
        assert await it.state(good) == "running"
        assert len(await it.root("list_domids")) == 1
        await it.vm(good, "destroy")
        assert "Traceback" not in opened.log("xenmgr") + opened.log("dbd")
        _, text = await checked(opened, it.uuid(good))
        assert text == ""


def test_the_list_for_programs_names_path_value_and_expectation(host: Host, start: Start) -> None:
    (host.config / "vms").mkdir(parents=True)
    (host.config / "vms" / "u.db").write_text('{"slot": "x", "name": "fine"}')
    (host.config / "vms" / "v.db").write_text('{"slot": ')
    start()
    done = host.run("db-check", "--json")
    aside, slot = json.loads(done.stdout)
    assert done.returncode == 1
    assert slot == {"path": "/vm/u/slot", "value": "x", "expected": "a number of -1 or more"}
    assert aside["path"].startswith(f"{host.config}/vms/v.db.bad-")
    assert host.run("db-check", "v").stdout == "/vm/v is null, expected an object\n"


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_without_a_dbd_it_says_so(host: Host, words: tuple[str, ...]) -> None:
    assert host.run("db-check", *words).returncode == 2
