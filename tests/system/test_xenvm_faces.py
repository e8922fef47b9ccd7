# SPDX-License-Identifier: GPL-2.0-or-later
"""How a monitor is spoken to: D-Bus, the UNIX socket, xenvm-cmd, its command line, and the zygote."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from xenvm_house import OTHER, START, UUID, House

from openxt_core.errors import RemoteError
from openxt_core.ids import xenvm_name, xenvm_path
from openxt_core.places import Places
from openxt_core.signature import Variant
from openxt_xenvm.tasks import TASKS

NAME = xenvm_name(UUID)


async def program(house: House, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", f"openxt_xenvm.{module}", *arguments],
        env=house.environ,
        capture_output=True,
        text=True,
        timeout=20,
    )


# D-Bus


async def test_tasks_answer_on_any_path_and_interface(house: House) -> None:
    await house.monitor(house.config())
    for path in ("/", xenvm_path(UUID), "/any/where"):
        for interface in (NAME, "what.ever", ""):
            await check_answers(house, path, interface)


async def check_answers(house: House, path: str, interface: str) -> None:
    assert [*await house.bus.call(NAME, path, interface, "get_status", "a{ss}", ({},))] == ["shutdown"]
    variants = {"field": Variant("s", "vcpus")}
    assert [*await house.bus.call(NAME, path, interface, "get", "a{sv}", (variants,))] == ["1"]


WRONG_CALLS: list[tuple[str, str, Sequence[Any], str, str]] = [
    ("no_such", "a{ss}", ({},), "UnknownMethod", "no rpc"),
    ("get_status", "", (), "InvalidArgs", "dictionary"),
    ("get_status", "s", ("x",), "InvalidArgs", "dictionary"),
    ("get_status", "a{ss}s", ({}, "x"), "InvalidArgs", "dictionary"),
    ("start", "a{sv}", ({"paused": Variant("b", True)},), "Failed", r"^\?$"),
    ("get", "a{ss}", ({},), "Failed", r'^exception: Argument_not_found\("field"\)$'),
    ("get", "a{ss}", ({"field": "x"},), "Failed", r'^exception: Unknown_field\("x"\)$'),
    ("set", "a{ss}", ({"field": "vcpus", "value": "0"},), "Failed", "Invalid_type_registered"),
    ("start", "a{ss}", ({"paused": "maybe"},), "Failed", "Invalid_type_registered"),
    ("trigger", "a{ss}", ({"params": "s3resume"},), "Failed", "needs a running hvm domain"),
    ("suspend", "a{ss}", ({"file": "/f"},), "Failed", "^exception: Vm_bad_state"),
    ("checkpoint", "a{ss}", ({},), "Failed", r'^exception: Argument_not_found\("file"\)$'),
    ("disk_del", "a{ss}", ({},), "Failed", r'^exception: Argument_not_found\("device"\)$'),
    (
        "device",
        "a{ss}",
        ({"type": "disk", "cmd": "add", "extra": "x"},),
        "Failed",
        r"^exception: InvalidConfig\(\"expected PHYSPATH",
    ),
    ("device", "a{ss}", ({"type": "vif", "cmd": "rm"},), "Failed", "exception: InvalidConfig"),
    ("device", "a{ss}", ({"type": "cow", "cmd": "list"},), "Failed", "^cow list: exception$"),
]


async def test_errors_as_clients_match_them(house: House) -> None:
    await house.monitor(house.config())
    for member, signature, body, name, text in WRONG_CALLS:
        with pytest.raises(RemoteError, match=text) as caught:
            await house.bus.call(NAME, "/", NAME, member, signature, body)
        assert caught.value.name == f"org.freedesktop.DBus.Error.{name}"


async def test_introspection_lists_every_task_and_the_signal(house: House) -> None:
    await house.monitor(house.config())
    interface = "org.freedesktop.DBus.Introspectable"
    (xml,) = await house.bus.call(NAME, "/any", interface, "Introspect")
    for task in TASKS:
        assert f'<method name="{task.name.replace("-", "_")}">' in xml
    assert '<signal name="notify">' in xml


async def test_set_waits_for_the_next_start(house: House) -> None:
    await house.monitor(house.config())
    await house.call("start")
    await house.call("set", field="vcpus", value="2")
    assert await house.call("get", field="vcpus") == "2"
    info = house.xen.info(house.domids()[0])
    assert info is not None
    assert info.vcpus == 1
    await house.call("destroy")
    await house.call("start")
    info = house.xen.info(house.domids()[0])
    assert info is not None
    assert info.vcpus == 2


async def test_queries_of_a_stopped_vm(house: House) -> None:
    await house.monitor(house.config())
    answers = {task: await house.call(task) for task in ("get_domid", "get_stubdomid", "get_acpi_state")}
    assert answers == {"get_domid": "-1", "get_stubdomid": "-1", "get_acpi_state": "5"}
    assert await house.call("get_vnc") == ""
    assert await house.call("get", field="required-to-boot-kib") == str((64 + 2 + 2) * 1024)
    nics = await house.call("nic_list")
    assert nics is not None
    assert nics.splitlines()[0].split("|")[0].strip() == "id"


async def test_read_config_is_for_the_next_start(house: House) -> None:
    await house.monitor(house.config())
    house.config("vcpus = 3")
    await house.call("read_config")
    assert await house.call("get", field="vcpus") == "3"
    with pytest.raises(RemoteError, match="InvalidConfig"):
        await house.call("read_config", path="/no/such/file")


async def test_a_hangup_reads_the_config_again(house: House) -> None:
    monitor = await house.monitor(house.config())
    house.config("vcpus = 3")
    monitor.send_signal(signal.SIGHUP)

    async def is_read() -> bool:
        return await house.call("get", field="vcpus") == "3"

    await house.until(is_read)


# Other carriers


async def test_notices_as_lines_on_a_socket(house: House) -> None:
    path = house.root / "listener"
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.put_nowait(await reader.read())
        writer.close()

    server = await asyncio.start_unix_server(take, path)
    house.launch("--config", str(house.config(f"notify = unix,{path}", "startup = start")))
    expected = ["0:ping", "0:dbus-rpc-up", *(f"61440:vm:state:{state}" for state in START)]
    async with asyncio.timeout(15):
        heard = [(await lines.get()).decode() for _ in expected]
    server.close()
    assert heard == [f"{UUID}:{text}\n" for text in expected]


async def test_the_unix_socket_speaks_json(house: House) -> None:
    house.launch("--config", str(house.config()), "--monitor-json", "true")
    await house.hear("ping", "dbus-rpc-up")
    status = await program(house, "cmd", "--use-socket", UUID, "get-status")
    assert (status.stdout, status.returncode) == ("shutdown\n", 0)
    assert (await program(house, "cmd", "--use-socket", UUID, "disk_list")).returncode == 0
    refused = await program(house, "cmd", "--use-socket", UUID, "halt")
    assert refused.returncode == 1
    assert "Vm_bad_state" in refused.stderr
    unknown = await program(house, "cmd", "--use-socket", UUID, "nonsense")
    assert "unknown RPC" in unknown.stderr


NONSENSE = (
    b"",
    b"{",
    b"[]",
    b"[" * 30_000,
    b"\xff",
    b'{"method": 1}',
    b'{"method": "x", "params": {"a": 1}}',
    b'{"method": "set", "params": {"field": "name", "value": "\\ud800"}}',
    b'{"method": "read-config", "params": {"path": "/\\udcff"}}',
)


async def test_nonsense_on_the_unix_socket_is_answered(house: House) -> None:
    monitor = house.launch("--config", str(house.config()), "--monitor-json", "true")
    await house.hear("ping", "dbus-rpc-up")
    path = house.root / "var/run/xenvm" / f"vm-{UUID}"
    assert path.stat().st_mode & 0o777 == 0o600
    for body in NONSENSE:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(len(body).to_bytes(4, "big") + body)
        assert json.loads(await reader.read())["error"]["code"] == -32602
        writer.close()
    await house.call("quit")
    await house.gone(monitor)
    assert not path.exists()


# xenvm-cmd


async def test_xenvm_cmd_with_the_words_of_the_documentation(house: House) -> None:
    await house.monitor(house.config())
    for word in ("start", "pause", "unpause"):
        done = await program(house, "cmd", UUID, word)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    await house.guest_is_up(house.domids()[0])
    assert (await program(house, "cmd", UUID, "status")).stdout == "running\n"
    assert (await program(house, "cmd", UUID, "restart")).returncode == 0
    await house.guest_is_up(house.domids()[0])
    assert (await program(house, "cmd", UUID, "shutdown")).returncode == 0
    assert (await program(house, "cmd", UUID, "domid")).stdout == "-1\n"
    help_text = (await program(house, "cmd", UUID, "help")).stdout
    assert "suspend file=TEXT [live=true|false]" in help_text


WRONG_COMMANDS: list[tuple[list[str], str]] = [
    ([], "usage"),
    ([UUID], "usage"),
    (["nonsense", "start"], "error: not a uuid"),
    ([OTHER, "start"], "error: "),
    ([UUID, "start", "bare"], "error: 'bare' is not KEY=VALUE"),
    ([UUID, "halt"], "error: exception: Vm_bad_state"),
    ([UUID, "checkpoint", "/file"], "error: exception: Vm_bad_state"),
    ([UUID, ""], "error: the command is empty"),
    *(
        (["--reply-timeout", word, UUID, "status"], "error: argument --reply-timeout: invalid seconds value")
        for word in ("abc", "nan", "inf", "-1", "0", "1e30")
    ),
]


async def test_xenvm_cmd_fails_with_1_and_says_why(house: House) -> None:
    await house.monitor(house.config())
    for arguments, message in WRONG_COMMANDS:
        done = await program(house, "cmd", *arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr


# The command line


@pytest.mark.parametrize(
    ("lines", "arguments", "status", "message"),
    [
        ("", [], 3, "needed"),
        ("", ["--config", "CONFIG"], 3, "has no uuid"),
        ("", ["--config", "/no/such"], 3, "cannot read"),
        (f"uuid={UUID}\nhvm=maybe", ["--strict-config", "--config", "CONFIG"], 3, "config error: hvm: "),
        (f"uuid={UUID}\nvif=id=1\nvif=id=1", ["CONFIG"], 3, "config error: nic: "),
        ("", ["--uuid", "x"], 3, "not a uuid"),
        ("", ["--monitor-dbus", "maybe", "--uuid", UUID], 3, "neither true nor false"),
    ],
)
def test_wrong_options_and_configs_end_with_3(
    tmp_path: Path, lines: str, arguments: list[str], status: int, message: str
) -> None:
    config = tmp_path / "config"
    config.write_text(lines)
    given = [str(config) if word == "CONFIG" else word for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "openxt_xenvm", *given], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == status
    assert message in done.stderr


async def test_the_daemon_serves_when_its_parent_ends_with_0(house: House) -> None:
    done = await program(house, "__main__", "--config", str(house.config()))
    assert done.returncode == 0
    assert await house.call("get_status") == "shutdown"
    again = await program(house, "__main__", "--config", str(house.config()))
    assert again.returncode == 1
    await house.call("quit")


async def test_a_uuid_alone_makes_a_stopped_vm(house: House) -> None:
    house.launch("--uuid", UUID)
    name_is_owned = lambda: house.bus.name_owner(NAME)  # noqa: E731
    await house.until(name_is_owned)
    assert await house.call("get_status") == "shutdown"
    with pytest.raises(RemoteError, match="no config file"):
        await house.call("read_config")


async def test_startup_start_runs_after_the_service_is_up(house: House) -> None:
    await house.monitor(house.config("startup = start"))
    await house.hear(*START)


async def test_a_startup_that_fails_is_told_and_ends_the_process(house: House) -> None:
    monitor = await house.monitor(house.config("startup = start", "kernel = /no/such"))
    async with asyncio.timeout(15):
        assert (await house.heard.get()).startswith("error:InvalidConfig")
    await house.hear("hup")
    assert await house.gone(monitor) == 2


# The zygote


def connections(pid: int) -> set[str]:
    """What a process has open beside its standard streams, by the kernel's names."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed while we look
            found |= {str(link.readlink())} if int(link.name) > 2 else set()
    return found - {"anon_inode:[eventpoll]"}


class Zygote:
    def __init__(self, house: House) -> None:
        self.path = Places(house.root).zygote_socket
        command = [sys.executable, "-m", "openxt_xenvm.zygote", "--no-merge"]
        self.process = subprocess.Popen(command, env=house.environ)
        house.monitors.append(self.process)

    def ask(self, line: bytes) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(15)
            client.connect(str(self.path))
            client.sendall(line)
            answer = client.makefile().readline()
        found = json.loads(answer) if answer else {}
        assert isinstance(found, dict)
        return found

    async def bear(self, config: Path) -> dict[str, Any]:
        return await asyncio.to_thread(self.ask, json.dumps({"config": str(config)}).encode() + b"\n")


@pytest.fixture
async def zygote(house: House) -> Zygote:
    born = Zygote(house)
    await house.until(born.path.exists)
    return born


async def test_a_forked_monitor_serves_when_it_is_answered(house: House, zygote: Zygote) -> None:
    answer = await zygote.bear(house.config())
    await house.hear("ping", "dbus-rpc-up")
    pid = answer["pid"]
    assert os.getsid(pid) == pid
    assert not connections(pid) & connections(zygote.process.pid)
    await house.call("start")
    await house.hear(*START)
    await house.call("destroy")
    await house.call("quit")
    await house.until(lambda: not Path(f"/proc/{pid}").exists())


async def test_the_zygotes_socket_is_private(zygote: Zygote) -> None:
    assert zygote.path.stat().st_mode & 0o777 == 0o600


async def test_what_a_forked_monitor_cannot_do_is_answered(house: House, zygote: Zygote) -> None:
    assert (await zygote.bear(Path("/no/such")))["exit_code"] == 3
    await zygote.bear(house.config())
    assert (await zygote.bear(house.config()))["exit_code"] == 1
    await house.call("quit")


async def test_nonsense_does_not_end_the_zygote(house: House, zygote: Zygote) -> None:
    for line in (b"\n", b"{\n", b"[]\n", b'{"config": 1}\n', b'{"uuid": "x"}\n', b"x" * 9999):
        answer = await asyncio.to_thread(zygote.ask, line)
        assert answer.get("exit_code", 3) == 3
    assert "pid" in await zygote.bear(house.config())
    await house.call("quit")


async def test_many_at_once(house: House, zygote: Zygote) -> None:
    uuids = [f"00000000-0000-0000-0000-0000000001{number:02x}" for number in range(12)]
    configs = [house.config(uuid=uuid) for uuid in uuids]  # type: ignore[arg-type]  # lower case
    answers = await asyncio.gather(*map(zygote.bear, configs))
    assert len({answer["pid"] for answer in answers}) == len(uuids)
    for uuid in uuids:
        await house.call("quit", uuid)  # type: ignore[arg-type]  # lower case


async def test_monitors_outlive_the_zygote(house: House, zygote: Zygote) -> None:
    await zygote.bear(house.config())
    zygote.process.terminate()
    assert await house.gone(zygote.process) == 0
    assert not zygote.path.exists()
    assert await house.call("get_status") == "shutdown"
    await house.call("quit")
