# SPDX-License-Identifier: GPL-2.0-or-later
"""The UI's web server: which files it gives, what it refuses, and that no request makes it fall over."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_uid import server
from openxt_uid.server import MAX_BODY, MAX_CONNECTIONS, Server
from openxt_uid.settings import UIVM, Settings, parse

PAGE = b"<!doctype html>"


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    files = tmp_path / "files"
    (files / "js").mkdir(parents=True)
    (files / "index.html").write_bytes(PAGE)
    (files / "js" / "app.js").write_text("1;")
    (tmp_path / "secret").write_text("secret")
    (files / "link").symlink_to(tmp_path / "secret")
    return Settings(files=files, websocket_port=81)


async def answer(site: Settings, *pieces: bytes) -> bytes:
    """What a client reads that sends these pieces and then nothing more."""
    to_read: Iterator[bytes] = iter([*pieces, b""])
    written = b""

    async def read() -> bytes:
        return next(to_read)

    async def write(data: bytes) -> None:
        nonlocal written
        written += data

    await Server(site).serve(read, write, "a test")
    return written


def request(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/", PAGE, b"text/html"),
        ("/?ws=1#/vms", PAGE, b"text/html"),
        ("/js/app.js", b"1;", b"text/javascript"),
        ("/settings.js", b"window.OPENXT_WS = 81;\n", b"text/javascript"),
    ],
)
async def test_a_page_is_served_with_its_type(site: Settings, path: str, body: bytes, kind: bytes) -> None:
    head, _, found = (await answer(site, request(path))).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: " + kind in head
    assert b"content-security-policy: frame-ancestors 'none'" in head
    assert found == body


@pytest.mark.parametrize(
    "path",
    ["/../secret", "/%2e%2e/secret", "/js/../../secret", "/link", "/js", "/none", "/%00", "//etc/passwd"],
)
async def test_what_is_not_in_the_folder_is_not_there(site: Settings, path: str) -> None:
    found = await answer(site, request(path))
    assert found.startswith(b"HTTP/1.1 404 ")
    assert b"secret" not in found


async def test_one_connection_takes_many_requests_in_any_pieces(site: Settings) -> None:
    both = request("/") + request("/js/app.js")
    found = await answer(site, *(both[n : n + 1] for n in range(len(both))))
    assert found.count(b"HTTP/1.1 200 OK") == 2


async def test_head_has_no_body_and_other_methods_are_refused(site: Settings) -> None:
    assert (await answer(site, request("/", "HEAD"))).endswith(b"\r\n\r\n")
    assert (await answer(site, request("/", "PUT"))).startswith(b"HTTP/1.1 405 ")


async def test_a_page_can_write_to_the_log(site: Settings, caplog: pytest.LogCaptureFixture) -> None:
    post = b"POST /log/error HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nouch"
    assert (await answer(site, post)).startswith(b"HTTP/1.1 200 ")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("ERROR", "a test says: 'ouch'")]


async def test_a_body_beyond_reason_is_refused(site: Settings) -> None:
    head = f"POST /log/info HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode()
    assert (await answer(site, head, b"x" * (MAX_BODY + 1))).startswith(b"HTTP/1.1 413 ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6))
async def test_no_bytes_make_it_fall_over(site: Settings, pieces: list[bytes]) -> None:
    await answer(site, *pieces)


async def test_a_client_that_sends_nothing_is_cut_off(
    site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setattr(server, "REQUEST_TIMEOUT_S", 0.01)
    written: list[bytes] = []

    async def read() -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async def write(data: bytes) -> None:
        written.append(data)

    await Server(site).serve(read, write, "a test")
    assert written == []


async def test_connections_beyond_the_limit_are_turned_away(site: Settings) -> None:
    one = Server(site)
    one._open = MAX_CONNECTIONS
    written: list[bytes] = []

    async def read() -> bytes:
        return request("/")

    async def write(data: bytes) -> None:
        written.append(data)

    await one.serve(read, write, "a test")
    assert written == []


def test_options_win_over_the_file() -> None:
    found = parse(["--http-port", "99"], "http-port = 98\nonly-uuids = a, B\n# no\nfiles-dir=/x\n")
    assert (found.port, found.only_uuids, found.files) == (99, {"a", "b"}, Path("/x"))
    assert parse([], "").only_uuids == {UIVM}


@pytest.mark.parametrize("conf", ["http-port = soon", "what"])
def test_a_wrong_line_is_named(conf: str) -> None:
    with pytest.raises(BadRequest, match=r"uid\.conf"):
        parse([], conf)
