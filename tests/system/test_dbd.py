# SPDX-License-Identifier: GPL-2.0-or-later
"""dbd as a process on a private bus: it answers, keeps what it acknowledged, and ends as it should."""

import asyncio
import os
import select
import signal
import subprocess

import pytest
from dbd_host import DEFAULT_DATABASE, PROGRAMS, TIMEOUT_S, Host, Start, end
from houses import house

from openxt_api.db import DbClient
from openxt_api.db_admin import DbAdminClient
from openxt_api.rpc_proxy_identity import RPC_PROXY_IDENTITY, RpcProxyIdentity
from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_core.errors import RemoteError
from openxt_core.ids import DBD_NAME


@pytest.fixture
async def db(host: Host, start: Start) -> DbClient:
    """dbd runs, and answers."""
    start()
    return DbClient(await Bus.connect(host.bus_address), DBD_NAME, "/")


async def test_a_new_host_serves_the_default_database(db: DbClient, host: Host) -> None:
    assert await db.read("/db-version") == "9"
    assert await db.list("/touchpad") == ["tap-to-click-enable", "scrolling-enable", "speed"]
    assert await db.dump("/") == DEFAULT_DATABASE.read_text()
    assert (host.config / "db").read_bytes() == DEFAULT_DATABASE.read_bytes()


async def test_the_original_s_answers_over_the_bus(db: DbClient) -> None:
    await db.write("/a/b", "1")
    assert await db.read("a//b/") == "1"
    assert (await db.read("/a"), await db.list("/a")) == ("", ["b"])
    assert (await db.exists("/a"), await db.exists("/a/x")) == (True, False)
    assert await db.dump("/a") == '{\n  "b": "1"\n}\n'
    await db.inject("/n", '{"i":5,"f":1.5,"t":true,"l":[1,2],"z":null,"s":"x/y"}')
    assert [await db.read(f"/n/{name}") for name in "iftlzs"] == ["5", "1.500000", "true", "", "", "x/y"]
    await db.rm("/nope/deep")
    await db.rm("/a/b")
    assert await db.dump("/a") == "{ }\n"


@pytest.mark.parametrize(
    ("member", "arguments", "text"),
    [
        ("inject", ("/n", "{"), "exception occured"),
        ("read_binary", ("/db-version",), "not a binary node"),
        ("write", ("/vm/../x", "1"), "'..' cannot be the name of a file, and /vm keeps one per entry"),
    ],
)
async def test_errors_travel_with_the_original_s_name_and_text(
    db: DbClient, member: str, arguments: tuple[str, ...], text: str
) -> None:
    with pytest.raises(RemoteError) as caught:
        await getattr(db, member)(*arguments)
    assert (caught.value.name, caught.value.text) == ("org.freedesktop.DBus.Error.Failed", text)


async def test_other_objects_and_members_are_unknown(db: DbClient, host: Host) -> None:
    bus = await Bus.connect(host.bus_address)
    for path, interface, member, name in (
        ("/vm", "com.citrix.xenclient.db", "read", "UnknownObject"),
        ("/", "com.citrix.xenclient.db", "nonsense", "UnknownMethod"),
        ("/", "", "read", "UnknownMethod"),
    ):
        with pytest.raises(RemoteError) as caught:
            await bus.call(DBD_NAME, path, interface, member, "s", ("/",))
        assert caught.value.name == f"org.freedesktop.DBus.Error.{name}"


async def test_a_hang_up_takes_the_files_as_they_are_now(host: Host, start: Start) -> None:
    process = start()
    db = DbClient(await Bus.connect(host.bus_address), DBD_NAME, "/")
    await db.write("/unsaved", "1")
    (host.config / "vms").mkdir()
    (host.config / "vms" / "x.db").write_text('{"name": "edited"}')
    process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(TIMEOUT_S):
        while await db.read("/vm/x/name") != "edited":
            pass
    assert await db.read("/unsaved") == "1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_end_saves_what_is_unsaved(host: Host, start: Start, number: signal.Signals) -> None:
    process = start()
    db = DbClient(await Bus.connect(host.bus_address), DBD_NAME, "/")
    await db.write("/vm/x/name", "new")
    status, _ = end(process, number)
    assert status == 0
    assert (host.config / "vms" / "x.db").read_text() == '{\n  "name": "new"\n}\n'
    assert sorted(path.name for path in host.config.iterdir()) == ["db", "history", "vms"]
    assert not (host.root / "var" / "run" / "dbd.pid").exists()


async def test_a_damaged_file_is_set_aside_and_the_rest_is_served(host: Host, start: Start) -> None:
    (host.config / "vms").mkdir(parents=True)
    (host.config / "vms" / "good.db").write_text('{"name": "good"}')
    (host.config / "vms" / "bad.db").write_text('{"name": ')
    process = start()
    db = DbClient(await Bus.connect(host.bus_address), DBD_NAME, "/")
    assert await db.list("/vm") == ["good"]
    ((file, why),) = await DbAdminClient(await Bus.connect(host.bus_address), DBD_NAME).bad_files()
    assert file.startswith(str(host.config / "vms" / "bad.db.bad-20"))
    assert "Expecting value" in why
    _, log = end(process, signal.SIGTERM)
    assert "vms/bad.db is damaged" in log
    again = start()
    assert await DbAdminClient(await Bus.connect(host.bus_address), DBD_NAME).bad_files() == [[file, ""]]
    assert f"set aside by a former process, for you to look at: {file}" in end(again, signal.SIGTERM)[1]
    assert [path.read_text() for path in (host.config / "vms").glob("bad.db.bad-*")] == ['{"name": ']


def test_a_second_dbd_is_turned_away_and_harms_nothing(host: Host, start: Start) -> None:
    process = start()
    second = host.run("dbd")
    assert second.returncode == 1
    assert "another dbd serves" in second.stderr
    assert end(process, signal.SIGTERM)[0] == 0


def test_in_the_background_the_command_returns_when_calls_are_answered(host: Host) -> None:
    pid_file = host.root / "pid"
    command = [PROGRAMS / "dbd", "--daemonize", "--pidfile", pid_file]
    subprocess.run(command, env=host.environ, check=True, timeout=TIMEOUT_S)
    pid = int(pid_file.read_text())
    assert host.run("db-cmd", "read", "/db-version").stdout == "9\n"
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGTERM)
    assert select.select([ended], [], [], TIMEOUT_S)[0]
    os.close(ended)


def test_in_the_background_a_failure_is_the_command_s(host: Host, start: Start) -> None:
    start()
    assert host.run("dbd", "--daemonize").returncode == 1


def test_the_command_line_reads_and_writes(host: Host, start: Start) -> None:
    start()
    assert host.run("db-cmd", "write", "/a/b", "x y").returncode == 0
    assert host.run("db-cmd", "read", "/a/b").stdout == "x y\n"
    assert host.run("db-cmd", "ls", "/a").stdout == 'a =\n b = "x y"\n'
    failed = host.run("db-cmd", "cat", "/a/b")
    assert (failed.returncode, failed.stdout, failed.stderr) == (2, "", "not a binary node\n")


def test_without_a_dbd_the_command_line_says_so(host: Host) -> None:
    failed = host.run("db-cmd", "read", "/a")
    assert failed.returncode == 2
    assert DBD_NAME in failed.stderr


class Proxy(RpcProxyIdentity):
    """Says of every connection of this process that it is domain 7's, as an rpc-proxy would."""

    def get_connection_domid(self, name: str) -> int:
        return 7


async def test_a_guest_behind_a_proxy_sees_its_own_place_only() -> None:
    uuid = "00000000-0000-0000-0000-000000000007"
    async with house({"dbus-daemon", "openxt-sim", "dbd"}) as here:
        tree = ObjectTree()
        tree.route("/", Face(RPC_PROXY_IDENTITY, Proxy))
        here.bus.serve(tree)
        assert await here.bus.request_name(f"com.citrix.xenclient.rpc_proxy.p{os.getpid()}")
        dom0 = DbClient(here.bus, DBD_NAME, "/")
        guest_bus = await Bus.connect(here.layout.bus_address)
        guest = DbClient(guest_bus, DBD_NAME, "/")
        with pytest.raises(RemoteError) as caught:
            await guest.read("/db-version")
        assert caught.value.name == "org.freedesktop.DBus.Error.AccessDenied"
        await here.xenstore.write("/local/domain/7/vm", f"/vm/{uuid}")
        await guest.write("/x", "1")
        assert await guest.read("/db-version") == ""
        assert await guest.list("/../") == []
        assert await dom0.read(f"/dom-store/{uuid}/x") == "1"
        assert await dom0.read("/db-version") == "9"
        guest_bus.close()
