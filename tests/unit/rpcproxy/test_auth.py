# SPDX-License-Identifier: GPL-2.0-or-later
"""The authentication phase towards clients and towards the bus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_rpcproxy.auth import AuthError, BusAuth, ClientAuth

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


@given(st.binary(max_size=400))
def test_no_bytes_get_in_without_acceptance(data: bytes) -> None:
    auth = ClientAuth()
    try:
        auth.feed(b"\0" + data)
    except AuthError:
        return
    assert not auth.done


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
