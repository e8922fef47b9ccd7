# SPDX-License-Identifier: GPL-2.0-or-later
"""The authentication phase towards clients and towards the bus."""

import pytest

from openxt_rpcproxy.auth import MAX_LINE, MAX_LINES, AuthError, BusAuth, ClientAuth

GUID = "0123456789abcdef0123456789abcdef"


def test_a_client_that_waits_for_each_answer_gets_in() -> None:
    auth = ClientAuth()
    assert auth.feed(b"\0AUTH\r\n") == b"REJECTED ANONYMOUS EXTERNAL\r\n"
    assert auth.feed(b"AUTH EXTERNAL 30\r\n") == b""
    assert auth.wants_guid
    assert auth.accept(GUID) == f"OK {GUID}\r\n".encode()
    assert auth.feed(b"NEGOTIATE_UNIX_FD\r\n") == b"ERROR\r\n"
    assert auth.feed(b"BEGIN\r\nl\1") == b""
    assert auth.done
    assert auth.rest() == b"l\1"


def test_a_client_that_pipelines_everything_in_one_write_gets_in() -> None:
    auth = ClientAuth()
    assert auth.feed(b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nl\1\0\1") == b"DATA\r\n"
    assert auth.wants_guid
    assert auth.accept(GUID) + auth.proceed() == f"OK {GUID}\r\nERROR\r\n".encode()
    assert auth.done
    assert auth.rest() == b"l\1\0\1"


def test_the_client_is_told_its_uuid_when_asked_to() -> None:
    auth = ClientAuth("some-uuid")
    auth.feed(b"\0AUTH ANONYMOUS\r\n")
    assert auth.accept(GUID).startswith(b"DATA some-uuid\r\nOK ")


@pytest.mark.parametrize(
    "data",
    [b"x", b"\0BEGIN\r\n", b"\0" + b"A" * 200, b"\0\xff\xfe\r\n", b"\0" + b"X\r\n" * 50],
    ids=["no NUL", "BEGIN before OK", "long line", "not ASCII", "many lines"],
)
def test_a_client_that_breaks_the_protocol_is_dropped(data: bytes) -> None:
    with pytest.raises(AuthError):
        ClientAuth().feed(data)


# What a client says, piece by piece, and what it is answered; `OK`, which the bus allows, ends it.
# Source: D-Bus specification 1.0, "Authentication state diagrams", server states.
@pytest.mark.parametrize(
    ("said", "answers"),
    [
        ("AUTH", "REJECTED"),
        ("AUTH EXTERNAL 30", "OK"),
        ("AUTH EXTERNAL", "DATA"),
        ("AUTH EXTERNAL|DATA", "DATA|OK"),
        ("AUTH EXTERNAL|DATA 3130", "DATA|OK"),
        ("AUTH EXTERNAL|CANCEL|AUTH ANONYMOUS", "DATA|REJECTED|OK"),
        ("AUTH EXTERNAL|ERROR no|AUTH ANONYMOUS 61", "DATA|REJECTED|OK"),
        ("AUTH EXTERNAL|AUTH EXTERNAL 30|DATA", "DATA|ERROR|OK"),
        ("AUTH ANONYMOUS", "OK"),
        ("AUTH DBUS_COOKIE_SHA1 61|AUTH ANONYMOUS", "REJECTED|OK"),
        ("AUTH DOMID 3132", "REJECTED"),
        ("DATA", "ERROR"),
        ("NEGOTIATE_UNIX_FD", "ERROR"),
        ("CANCEL", "REJECTED"),
        ("WHATEVER it is", "ERROR"),
        ("", "ERROR"),
        ("AUTH EXTERNAL 30|NEGOTIATE_UNIX_FD", "OK|ERROR"),
        ("AUTH EXTERNAL 30|AUTH EXTERNAL 30", "OK|ERROR"),
        ("AUTH EXTERNAL 30|DATA", "OK|ERROR"),
        ("AUTH EXTERNAL 30|CANCEL|AUTH ANONYMOUS", "OK|REJECTED|OK"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_every_word_is_answered_as_the_specification_says(said: str, answers: str, at_once: bool) -> None:
    lines = [f"{line}\r\n".encode() for line in said.split("|")]
    found = conversation(ClientAuth(), [b"\0" + b"".join(lines)] if at_once else [b"\0", *lines])
    assert [line.split(" ")[0] for line in found.split("\r\n")[:-1]] == answers.split("|")


def conversation(auth: ClientAuth, pieces: list[bytes]) -> str:
    answers = b""
    for piece in pieces:
        answers += auth.feed(piece)
        while auth.wants_guid:
            answers += auth.accept(GUID) + auth.proceed()
    return answers.decode()


def test_domain_0_may_also_name_a_domain_as_another_proxy_does() -> None:
    assert conversation(ClientAuth(is_dom0=True), [b"\0AUTH DOMID 3132\r\n"]) == f"OK {GUID}\r\n"
    assert "DOMID" in conversation(ClientAuth(is_dom0=True), [b"\0AUTH\r\n"])


def test_byte_by_byte_is_as_good_as_at_once() -> None:
    said = b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nl"
    auth = ClientAuth()
    assert conversation(auth, [bytes([byte]) for byte in said]) == f"OK {GUID}\r\nERROR\r\n"
    assert auth.done
    assert auth.rest() == b"l"


@pytest.mark.parametrize(("size", "is_taken"), [(MAX_LINE, True), (MAX_LINE + 1, False)])
def test_a_line_has_at_most_so_many_bytes_with_its_end(size: int, is_taken: bool) -> None:
    line = b"A" * (size - 2) + b"\r\n"
    if is_taken:
        assert ClientAuth().feed(b"\0" + line) == b"ERROR\r\n"
    else:
        with pytest.raises(AuthError, match="line of"):
            ClientAuth().feed(b"\0" + line)


def test_so_many_lines_and_no_more_are_read_before_begin() -> None:
    assert ClientAuth().feed(b"\0" + b"X\r\n" * MAX_LINES).count(b"ERROR") == MAX_LINES
    with pytest.raises(AuthError, match="too many"):
        ClientAuth().feed(b"\0" + b"X\r\n" * (MAX_LINES + 1))


@pytest.mark.parametrize("data", [b"\0AUTH EXTERNAL\r\nBEGIN\r\n", b"\0AUTH X\r\nBEGIN\r\n"])
def test_begin_before_ok_ends_it(data: bytes) -> None:
    with pytest.raises(AuthError, match="BEGIN"):
        ClientAuth().feed(data)


def test_a_client_that_begins_anew_after_ok_must_be_accepted_again() -> None:
    auth = ClientAuth()
    with pytest.raises(AuthError, match="BEGIN"):
        conversation(auth, [b"\0AUTH ANONYMOUS\r\nCANCEL\r\nBEGIN\r\n"])


def test_the_bus_is_asked_for_the_domain_first_and_then_for_ourselves() -> None:
    auth = BusAuth(12, 0)
    assert auth.first() == b"\0AUTH DOMID 3132\r\n"
    assert auth.answer("REJECTED EXTERNAL") == (b"AUTH EXTERNAL 30\r\n", None)
    assert auth.answer(f"OK {GUID}") == (b"BEGIN\r\n", GUID)


def test_domain_0_authenticates_as_ourselves_and_a_refusal_is_final() -> None:
    auth = BusAuth(0, 1000)
    assert auth.first() == b"\0AUTH EXTERNAL 31303030\r\n"
    with pytest.raises(AuthError, match="REJECTED"):
        auth.answer("REJECTED EXTERNAL")


@pytest.mark.parametrize("refusal", ["REJECTED EXTERNAL", "ERROR unknown mechanism"])
def test_a_bus_that_knows_no_domains_is_told_who_we_are(refusal: str) -> None:
    auth = BusAuth(7, 0)
    auth.first()
    assert auth.answer(refusal)[0] == b"AUTH EXTERNAL 30\r\n"
    with pytest.raises(AuthError):
        auth.answer(refusal)
