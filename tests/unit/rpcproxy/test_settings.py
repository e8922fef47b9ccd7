# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: the three default instances, and what is refused."""

from pathlib import Path

import pytest

from openxt_core.places import Places
from openxt_rpcproxy.audit import AuditSettings
from openxt_rpcproxy.settings import Channel, Settings, parse

GUEST_NAME = "com.citrix.xenclient.guest.uuid_$UUID"


def settings(line: str) -> Settings:
    return parse(line.split(), Places())


def test_the_three_default_instances_are_understood() -> None:
    first = settings("-s")
    assert (first.listen, first.server) == (Channel("v4v", ("5555",)), True)
    second = settings(f"-i v4v:5556 -n {GUEST_NAME} --translate-anonymous-dests")
    assert (second.request_name, second.translate_anonymous) == (GUEST_NAME, True)
    third = settings(f"-i v4v:8080 --json-in --websockets-in -n {GUEST_NAME} --auto-auth")
    assert (third.json_in, third.websockets_in, third.auto_auth) == (True, True, True)
    assert (third.origins, third.hosts) == ((), ())


def test_pages_and_hosts_can_be_named_more_than_once() -> None:
    found = settings("--allow-origin http://a --allow-origin http://b --allow-host c")
    assert (found.origins, found.hosts) == (("http://a", "http://b"), ("c",))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--websockets-in", "needs --auto-auth"),
        ("-i serial:", "serial:DEVICE"),
        ("-o v4v-domid:5555", "v4v-domid:PORT:DOMID"),
        ("-o v4v-uuid:5555:7", "v4v-uuid:PORT:UUID"),
        ("-o tcp:80", "unknown kind 'tcp'"),
        ("-i tcp:a:b", "tcp:PORT or tcp:ADDRESS:PORT"),
        ("--limit tea=3", "unknown name"),
        ("--limit names=0", "above 0"),
        ("--json-in", "needs --auto-auth"),
        ("-n no_dots", "no bus name"),
        ("-n a.b-$UUID-é", "no bus name"),
        ("--unknown", "unrecognized"),
        ("word", "unrecognized"),
    ],
)
def test_what_is_wrong_is_said(line: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        settings(line)
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_an_audit_log_is_asked_for_by_its_file() -> None:
    settings = parse(["--audit", "/a", "--audit-all", "--audit-chain", "--audit-limit", "5"], Places())
    assert settings.audit == AuditSettings(Path("/a"), everything=True, chained=True, limit=5)
    assert parse([], Places()).audit is None


@pytest.mark.parametrize(
    "argv", [["--audit-all"], ["--audit-chain"], ["--audit", "/a", "--audit-limit", "-1"]]
)
def test_an_audit_log_that_cannot_be_meant_is_a_usage_error(argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(argv, Places())
