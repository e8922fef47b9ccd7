# SPDX-License-Identifier: GPL-2.0-or-later
"""The v4v firewall over VMs' lives: a program viptables with a table of its own, and hosts without one."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from viptables import Viptables
from xenmgr_house import VM, XENMGR, Desk, desk, refused

CONFIG = f"{XENMGR}.config"
V4V, VM_V4V = f"{XENMGR}.v4v", f"{VM}.v4v"
BASE = ["ACCEPT 0:* -> 0:*", "REJECT *:* -> *:*"]
REBUILD_BEGINS = ["-F", "-A -j ACCEPT"]
REBUILD_ENDS = ["-D -j ACCEPT", "-A --dom-in 0 --dom-out 0 -j ACCEPT", "-A -j REJECT"]


@pytest.fixture
async def it(viptables: Viptables) -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def with_rules(it: Desk, *rules: str, kind: str = "svm") -> str:
    """A VM of that type whose rules are exactly these."""
    path = await it.create()
    await it.db("rm", f"/vm/{it.uuid(path)}/v4v-firewall-rules")
    await it.set(path, "type", "s", kind)
    for rule in rules:
        await it.vm(path, "add_v4v_firewall_rule", rule)
    return path


async def status(it: Desk) -> dict[str, str]:
    return dict(await it.call("/", V4V, "status"))


async def openings(it: Desk) -> list[str]:
    return [command for _, _, command in await it.call("/", V4V, "list_openings")]


def added(source: int, target: int, port: int) -> list[str]:
    """What a rule `source -> target:port` has carried out."""
    return [
        f"-I 1 --dom-in {source} --dom-out {target} --port-out {port} -j ACCEPT",
        f"-I 1 --dom-in {target} --dom-out {source} --port-in {port} -j ACCEPT",
    ]


def removed(source: int, target: int, port: int) -> list[str]:
    return [line.replace("-I 1", "-D") for line in added(source, target, port)]


async def test_rules_stand_before_the_vm_runs_and_are_gone_after_it(it: Desk, viptables: Viptables) -> None:
    assert viptables.commands() == REBUILD_BEGINS + REBUILD_ENDS
    path = await with_rules(it, "myself -> 0:5556")
    viptables.forget()
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    assert viptables.commands() == added(domid, 0, 5556)
    assert viptables.table()[2:] == BASE
    assert await it.house.xenstore.read(f"/local/domain/{domid}/v4v-firewall-ready") == "1"
    viptables.forget()
    await it.vm(path, "shutdown")
    assert viptables.commands() == removed(domid, 0, 5556)
    assert viptables.table() == BASE
    viptables.forget()
    await it.vm(path, "delete")
    assert viptables.commands() == []


@pytest.mark.parametrize("first", ["the one with the rule", "the one it names"])
async def test_rules_that_name_other_vms_are_right_whoever_comes_and_goes_first(
    it: Desk, viptables: Viptables, first: str
) -> None:
    ui = await with_rules(it, "myself -> dom-type=ndvm:5555", kind="uivm")
    net = await with_rules(it, kind="ndvm")
    for path in (ui, net) if first == "the one with the rule" else (net, ui):
        await it.vm(path, "start")
    open_now = added(await it.get(ui, "domid"), await it.get(net, "domid"), 5555)
    assert [line.removeprefix("viptables ") for line in await openings(it)] == open_now
    assert len(viptables.table()) == len(BASE) + 2
    await it.vm(net, "destroy")
    assert viptables.table() == BASE
    await it.vm(net, "start")
    assert len(viptables.table()) == len(BASE) + 2
    await it.vm(ui, "destroy")
    assert (viptables.table(), await openings(it)) == (BASE, [])


async def test_a_reboot_leaves_nothing_of_the_old_domain(it: Desk, viptables: Viptables) -> None:
    path = await with_rules(it, "myself -> 0:80")
    await it.vm(path, "start")
    old = await it.get(path, "domid")
    it.xen().reboot(old)
    await it.until(lambda: it.states_told(path).count("running") == 2)
    new = await it.get(path, "domid")
    assert new != old
    assert [line.removeprefix("viptables ") for line in await openings(it)] == added(new, 0, 80)
    assert len(viptables.table()) == len(BASE) + 2


async def test_a_killed_xenmgr_builds_the_same_rules_again(it: Desk, viptables: Viptables) -> None:
    paths = [await with_rules(it, "myself -> dom-type=svm:9", "myself -> 0:80") for _ in range(2)]
    for path in paths:
        await it.vm(path, "start")
    before = sorted(viptables.table())
    assert len(before) == len(set(before)) == len(BASE) + 4 + 4
    viptables.forget()
    await it.restart()
    assert sorted(viptables.table()) == before
    commands = viptables.commands()
    assert commands[:2] + commands[-3:] == REBUILD_BEGINS + REBUILD_ENDS
    await it.vm(paths[0], "destroy")
    await it.vm(paths[1], "destroy")
    assert viptables.table() == BASE


async def test_a_running_vm_gets_and_loses_rules_at_once(it: Desk, viptables: Viptables) -> None:
    path = await with_rules(it)
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    viptables.forget()
    await it.vm(path, "add_v4v_firewall_rule", "myself -> 0:80")
    assert viptables.commands() == added(domid, 0, 80)
    await it.vm(path, "delete_v4v_firewall_rule", "myself->0:80")
    assert viptables.commands() == added(domid, 0, 80) + removed(domid, 0, 80)


async def test_a_running_vm_that_changes_its_type_or_name_is_another_for_rules(
    it: Desk, viptables: Viptables
) -> None:
    ui = await with_rules(it, "myself -> dom-name=Special:7", kind="uivm")
    other = await with_rules(it)
    for path in (ui, other):
        await it.vm(path, "start")
    assert viptables.table() == BASE
    await it.set(other, "name", "s", "special")
    await it.until(lambda: len(viptables.table()) == len(BASE) + 2)
    await it.set(other, "name", "s", "plain")
    await it.until(lambda: viptables.table() == BASE)


async def test_a_vm_whose_rules_cannot_be_carried_out_does_not_start(it: Desk, viptables: Viptables) -> None:
    nodes, files = await it.nodes(), it.files()
    path = await with_rules(it, "myself -> 0:80", "myself -> 0:81")
    viptables.fail_on("--port-out 81")
    text = await it.fails(it.vm(path, "start"))
    assert text.startswith(refused(223))
    assert "told to fail" in text
    assert (await it.state(path), it.domids(path)) == ("stopped", [])
    assert viptables.table() == BASE
    viptables.fail_on("")
    await it.vm(path, "start")
    assert len(viptables.table()) == len(BASE) + 4
    await it.vm(path, "destroy")
    await it.vm(path, "delete")
    assert (await it.nodes(), it.files()) == (nodes, files)


async def test_what_could_not_be_closed_is_closed_later_and_nothing_is_opened_before(
    it: Desk, viptables: Viptables
) -> None:
    first, second = await with_rules(it, "myself -> 0:80"), await with_rules(it, "myself -> 0:81")
    await it.vm(first, "start")
    viptables.fail_on("-D")
    await it.vm(first, "destroy")
    assert await it.state(first) == "stopped"
    assert (await it.fails(it.vm(second, "start"))).startswith(refused(223))
    viptables.fail_on("")
    await it.call("/", V4V, "settle")
    assert viptables.table() == BASE
    await it.vm(second, "start")
    assert len(viptables.table()) == len(BASE) + 2


async def test_a_rule_that_fails_while_all_are_built_leaves_nothing_open_to_everybody(
    it: Desk, viptables: Viptables
) -> None:
    path = await with_rules(it, "myself -> 0:80", "myself -> 0:81")
    await it.vm(path, "start")
    viptables.fail_on("--port-out 81")
    await it.restart()
    assert viptables.table()[1:] == BASE
    assert "the v4v firewall is not as it should be" in it.house.log("xenmgr")
    assert "the rules could not be built" in (await status(it))["detail"]
    viptables.fail_on("")
    await it.call("/", V4V, "settle")
    assert len(viptables.table()) == len(BASE) + 4
    assert (await status(it))["enforced"] == "true"


async def test_a_rule_that_cannot_be_read_stops_the_start_and_is_shown(it: Desk) -> None:
    path = await with_rules(it, "myself -> 0:80")
    await it.db("write", f"/vm/{it.uuid(path)}/v4v-firewall-rules/1", "myself -> nowhere:80")
    text = await it.fails(it.vm(path, "start"))
    assert text.startswith(refused(237))
    assert "nowhere" in text
    assert [list(row) for row in await it.call(path, VM_V4V, "dry_run")][-1] == [
        *("myself -> nowhere:80", it.uuid(path), "")
    ]
    await it.call("/", "org.freedesktop.DBus.Properties", "Get", "ss", CONFIG, "v4v-firewall")
    await it.set("/", "v4v-firewall", "b", False, CONFIG)
    await it.vm(path, "start")


async def test_a_dry_run_shows_what_a_start_would_open_and_does_nothing(
    it: Desk, viptables: Viptables
) -> None:
    ui = await with_rules(it, "myself -> dom-type=ndvm:5555", "myself -> dom-type=syncvm", kind="uivm")
    net = await with_rules(it, "myself -> 0:5555", kind="ndvm")
    await it.vm(ui, "start")
    domid = await it.get(ui, "domid")
    viptables.forget()
    rows = [tuple(row) for row in await it.call(net, VM_V4V, "dry_run")]
    assert rows[0] == (
        "myself -> dom-type=ndvm:5555",
        it.uuid(ui),
        f"viptables -I 1 --dom-in {domid} --dom-out MYSELF --port-out 5555 -j ACCEPT",
    )
    assert (len(rows), viptables.commands()) == (4, [])
    await it.vm(net, "start")
    carried_out = [f"viptables {line}" for line in viptables.commands()]
    now = str(await it.get(net, "domid"))
    assert [command.replace("MYSELF", now) for *_, command in rows] == carried_out
    assert [command for *_, command in await it.call(net, VM_V4V, "dry_run")] == carried_out
    assert [rule for rule, _, command in await it.call(ui, VM_V4V, "dry_run") if not command] == [
        "myself -> dom-type=syncvm"
    ]


async def test_switching_it_off_opens_all_and_on_builds_it_again(it: Desk, viptables: Viptables) -> None:
    path = await with_rules(it, "myself -> 0:80")
    await it.vm(path, "start")
    before = viptables.table()
    assert await status(it) == {"enabled": "true", "enforced": "true", "openings": "2", "detail": ""}
    await it.set("/", "v4v-firewall", "b", False, CONFIG)
    assert viptables.table() == []
    assert (await status(it))["enabled"] == "false"
    await it.set("/", "v4v-firewall", "b", True, CONFIG)
    assert viptables.table() == before


async def test_rules_that_somebody_took_away_are_missed(it: Desk, viptables: Viptables) -> None:
    path = await with_rules(it, "myself -> 0:80")
    await it.vm(path, "start")
    (viptables.folder / "table").write_text("* * * * REJECT\n")
    assert await status(it) == {
        "enabled": "true",
        "enforced": "false",
        "openings": "2",
        "detail": "2 openings are not there",
    }
    (viptables.folder / "table").write_text("")
    assert "has no rule that refuses" in (await status(it))["detail"]


async def test_without_viptables_rules_are_shown_and_it_is_said_that_nothing_enforces_them(
    viptables: Viptables,
) -> None:
    viptables.remove()
    async with desk() as it:
        path = await with_rules(it, "myself -> 0:80")
        await it.vm(path, "start")
        domid = await it.get(path, "domid")
        assert [line.removeprefix("viptables ") for line in await openings(it)] == added(domid, 0, 80)
        answer = await status(it)
        assert (answer["enabled"], answer["enforced"]) == ("true", "false")
        assert "nothing enforces them" in answer["detail"]
        assert "nothing enforces them" in it.house.log("xenmgr")
        viptables.install()
        await it.call("/", V4V, "settle")
        assert viptables.table()[2:] == BASE
        assert (await status(it))["enforced"] == "true"
        viptables.remove()
        assert "nothing enforces them" in (await status(it))["detail"]


async def test_a_stub_domain_may_speak_before_it_runs_and_no_longer_than_its_guest(
    it: Desk, viptables: Viptables
) -> None:
    kernel = it.places.storage / "stub-kernel"
    kernel.write_bytes(b"a kernel")
    extra = {"0": f"stubdom-kernel={kernel}", "1": "stubdom-initrd=", "2": "kernel="}
    hvm = {"virt-type": "hvm", "hvm": "true", "qemu-dm-path": "/any", "extra-xenvm": extra}
    path = await it.create(**hvm)
    await it.set(path, "stubdom", "b", True)
    await it.db("inject", f"/vm/{it.uuid(path)}/v4v-firewall-rules", '{"0": "my-stubdom -> 0:5555"}')
    viptables.forget()
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    stubdom = int(await it.house.xenstore.read(f"/local/domain/{domid}/image/device-model-domid") or "")
    assert await it.house.xenstore.read(f"/xenmgr/vms/{it.uuid(path)}/stubdomid") == str(stubdom)
    assert viptables.commands() == added(stubdom, 0, 5555)
    await it.restart()
    assert viptables.table()[2:] == BASE
    await it.vm(path, "destroy")
    assert viptables.table() == BASE


async def test_many_starts_and_stops_at_once_leave_each_rule_once_and_then_none(
    it: Desk, viptables: Viptables
) -> None:
    paths = [await with_rules(it, "myself -> dom-type=svm:9", "0 -> myself:22") for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for path in paths:
            group.create_task(it.vm(path, "start"))
    table = viptables.table()
    assert len(table) == len(set(table)) == len(BASE) + 4 * 3 * 2 + 4 * 2
    async with asyncio.TaskGroup() as group:
        for path in paths:
            group.create_task(it.vm(path, "destroy"))
    assert viptables.table() == BASE


async def test_an_xenmgr_that_is_killed_between_two_rules_leaves_none_of_them_behind(
    it: Desk, viptables: Viptables
) -> None:
    path = await with_rules(it, *(f"myself -> 0:{port}" for port in range(80, 86)))
    viptables.forget()
    starting = asyncio.create_task(it.vm(path, "start"))
    await it.until(lambda: len(viptables.commands()) > 3)
    await it.restart()
    await it.fails(starting)
    await it.until_state(path, "running", "stopped")
    rules = len(viptables.table()) - len(BASE)
    assert rules == (12 if it.domids(path) else 0)
    if it.domids(path):
        await it.vm(path, "destroy")
    assert viptables.table() == BASE
