# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts that wait: event queues, debounced announcements, hooks, the database, the zygote."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from openxt_core.errors import BadRequest, Refused, RemoteError, Unavailable
from openxt_core.ids import Uuid
from openxt_core.spec import Value
from openxt_xenmgr.links import dbd
from openxt_xenmgr.links.zygote import spawn_monitor
from openxt_xenmgr.registry import Registry, Vm
from openxt_xenmgr.tasks import Background, Debounce
from openxt_xenmgr.vm.events import Event, PowerChanged
from openxt_xenmgr.vm.hooks import run_hooks
from openxt_xenmgr.vm.monitor import write_config
from openxt_xenmgr.vm.queue import EventQueue
from openxt_xenmgr.vm.start import run_both
from openxt_xenmgr.vm.states import State

A = Uuid("00000000-0000-0000-0000-00000000000a")
B = Uuid("00000000-0000-0000-0000-00000000000b")
ABSENT = "org.freedesktop.DBus.Error.ServiceUnknown"


class Bus:
    """Answers from a list; an exception in it is raised."""

    def __init__(self, *answers: Value) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, tuple[Value, ...]]] = []

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Value] = (),
        *,
        timeout_s: float = 25.0,
    ) -> Sequence[Value]:
        self.calls.append((member, tuple(body)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return (answer,)


# Events


async def test_events_of_one_vm_keep_their_order_and_vms_do_not_wait() -> None:
    background, seen = Background(), []
    gate = asyncio.Event()

    async def react(vm: Vm, event: Event) -> None:
        if vm.uuid == A and event == PowerChanged(0):
            await gate.wait()
        seen.append((vm.uuid, event))

    queue = EventQueue(background)
    queue.react = react
    one, other = Vm(A), Vm(B)
    queue.post(one, PowerChanged(0))
    queue.post(one, PowerChanged(3))
    await queue.inject(other, PowerChanged(5))
    assert seen == [(B, PowerChanged(5))]
    gate.set()
    await queue.settled(one)
    assert seen[1:] == [(A, PowerChanged(0)), (A, PowerChanged(3))]
    await background.close()


async def test_a_reaction_may_cause_an_event_of_its_own_vm_which_comes_after_it() -> None:
    background, seen = Background(), []
    queue = EventQueue(background)

    async def react(vm: Vm, event: Event) -> None:
        seen.append(event)
        if event == PowerChanged(3):
            queue.post(vm, PowerChanged(0))
            queue.post(vm, PowerChanged(4))

    queue.react = react
    await queue.inject(Vm(A), PowerChanged(3))
    one = Vm(B)
    queue.post(one, PowerChanged(3))
    await queue.settled(one)
    assert seen[-3:] == [PowerChanged(3), PowerChanged(0), PowerChanged(4)]
    await background.close()


async def test_a_domain_that_is_not_built_is_not_waited_for_any_more() -> None:
    ended = asyncio.Event()

    async def fails() -> None:
        raise Refused("no kernel")

    async def follows() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(Refused, match="no kernel"):
        await run_both(fails(), follows())
    assert ended.is_set()


async def test_a_state_that_is_passed_quickly_is_not_missed() -> None:
    vm = Vm(A)
    waiting = asyncio.create_task(vm.until(lambda state: state is State.CREATING_DEVICES, 5, "devices"))
    await asyncio.sleep(0)
    for state in (State.CREATING_DOMAIN, State.CREATING_DEVICES, State.CREATED, State.RUNNING):
        vm.enter(state)
    assert await waiting is State.CREATING_DEVICES


async def test_waiting_ends_with_a_reason_when_it_is_in_vain() -> None:
    vm = Vm(A)
    waiting = asyncio.create_task(vm.until(lambda _: False, 5, "heaven"))
    await asyncio.sleep(0)
    vm.abandon(Unavailable("the monitor died"))
    with pytest.raises(Unavailable, match="the monitor died"):
        await waiting
    with pytest.raises(Unavailable, match="heaven within 0"):
        await vm.until(lambda _: False, 0, "heaven")
    assert vm.waiters == []


async def test_background_work_is_logged_when_it_fails_and_cancelled_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    background, ended = Background(), []

    async def fail() -> None:
        raise BadRequest("no such thing")

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    background.spawn("first", fail())
    background.spawn("second", stay())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await background.close()
    assert "first: no such thing" in caplog.text
    assert ended == [True]


async def test_a_debounced_act_happens_once_for_a_series() -> None:
    acts: list[str] = []
    done = asyncio.Event()

    def act(key: str) -> None:
        acts.append(key)
        done.set()

    debounce = Debounce(0.01, act)
    for _ in range(3):
        debounce.request("a")
    debounce.request("gone")
    debounce.forget("gone")
    await done.wait()
    assert acts == ["a"]


def test_the_registry_knows_vms_by_uuid_and_domain() -> None:
    registry = Registry()
    vm = registry.add(A)
    assert registry.add(A) is vm
    vm.domid = 5
    assert registry.of_domid(5) is vm
    assert registry.of_domid(6) is None
    with pytest.raises(BadRequest):
        registry.need(B)
    registry.remove(A)
    assert len(registry) == 0


# Hooks


def program(folder: Path, *lines: str) -> str:
    path = folder / "hook"
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return str(path)


async def test_hooks_run_in_order_until_one_fails(tmp_path: Path) -> None:
    one = program(tmp_path, f'echo "$@" >> {tmp_path}/told')
    with pytest.raises(Refused, match="/bin/false failed with exit status 1"):
        await run_hooks(f"{one};/bin/false;{one}", ["x", "y"], Bus(), 5)
    assert (tmp_path / "told").read_text() == "x y\n"


async def test_a_hook_that_hangs_is_killed(tmp_path: Path) -> None:
    hang = program(tmp_path, f"echo $$ > {tmp_path}/pid", "exec sleep 60")
    with pytest.raises(Unavailable, match="did not end"):
        await run_hooks(hang, [], Bus(), 0.2)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


async def test_an_rpc_hook_gets_its_arguments_as_texts() -> None:
    bus = Bus("")
    await run_hooks("rpc:destination=a.b,interface=a.b,member=go", ["x", "y"], bus, 5)
    assert bus.calls == [("go", ("x", "y"))]


# The database


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbd, "PAUSES_S", (0.0,) * 4)


@pytest.mark.usefixtures("_no_pauses")
async def test_the_database_is_asked_again_while_it_is_away() -> None:
    gone = RemoteError(ABSENT, "away")
    bus = Bus(gone, RemoteError("org.freedesktop.DBus.Error.NoReply", "died"), "value")
    assert await dbd.DbClient(bus).read("/a") == "value"
    assert len(bus.calls) == 3


@pytest.mark.usefixtures("_no_pauses")
async def test_a_database_that_stays_away_is_named() -> None:
    bus = Bus(*[RemoteError(ABSENT, "away")] * 5)
    with pytest.raises(Unavailable, match=r"com\.citrix\.xenclient\.db"):
        await dbd.DbClient(bus).read("/a")


async def test_what_the_database_refuses_is_not_asked_again() -> None:
    bus = Bus(RemoteError("org.freedesktop.DBus.Error.Failed", "no"))
    with pytest.raises(RemoteError, match="no"):
        await dbd.DbClient(bus).write("/a", "b")


async def test_dumps_with_raw_control_characters_are_read() -> None:
    assert await dbd.DbClient(Bus('{"a": "x\ty"}')).dump("/") == {"a": "x\ty"}
    with pytest.raises(Unavailable, match="broken dump"):
        await dbd.DbClient(Bus("{")).dump("/")


# The monitor's file and its zygote


def test_the_configuration_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.symlink_to("/etc/passwd")  # what a planted link points to stays as it is
    write_config(path, ["a=1", "b=2"])
    assert not path.is_symlink()
    assert path.read_text() == "a=1\nb=2\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


async def zygote(folder: Path, answer: str) -> "tuple[asyncio.Server, list[dict[str, str]]]":
    asked: list[dict[str, str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(json.loads(await reader.readline()))
        writer.write(answer.encode())
        writer.close()

    return await asyncio.start_unix_server(serve, folder / "zygote"), asked


@pytest.mark.parametrize("answer", ['{"pid": 7}\n', '{"error": "is there", "exit_code": 1}\n'])
async def test_the_zygote_is_asked_for_a_monitor(tmp_path: Path, answer: str) -> None:
    server, asked = await zygote(tmp_path, answer)
    async with server:
        await spawn_monitor(tmp_path / "zygote", Path("/c"), A)
    assert asked == [{"config": "/c", "uuid": A}]


async def test_the_zygotes_reason_is_told(tmp_path: Path) -> None:
    server, _ = await zygote(tmp_path, '{"error": "no uuid", "exit_code": 3}\n')
    async with server:
        with pytest.raises(Unavailable, match="no uuid"):
            await spawn_monitor(tmp_path / "zygote", Path("/c"), A)


@pytest.mark.parametrize(
    ("status", "expected"), [(0, None), (1, None), (3, "exit status 3: bad config"), (2, "exit status 2")]
)
async def test_without_a_zygote_xenvm_is_run_and_its_exit_status_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, expected: str | None
) -> None:
    fake = tmp_path / "xenvm"
    fake.write_text(f"#!/bin/sh\necho 'bad config' >&2\n[ $1 = --config ] && exit {status}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    if expected is None:
        await spawn_monitor(tmp_path / "none", Path("/c"), A)
    else:
        with pytest.raises(Unavailable, match=expected):
            await spawn_monitor(tmp_path / "none", Path("/c"), A)
