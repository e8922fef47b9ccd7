# SPDX-License-Identifier: GPL-2.0-or-later
"""xenops' words and what it prints, without a host."""

from dataclasses import replace

import pytest

from openxt_core.errors import BadRequest
from openxt_core.ids import DOM0, DOM0_UUID, Domid
from openxt_xen.hypervisor import DomainInfo, Kind, ShutdownReason
from openxt_xen.operator import DomainDetail
from openxt_xenvm.xenops import show
from openxt_xenvm.xenops.table import BY_NAME, COMMANDS
from openxt_xenvm.xenops.words import Command, Opt, bitmap, number, parse

INFO = DomainInfo(
    domid=DOM0,
    uuid=DOM0_UUID,
    kind=Kind.PV,
    paused=False,
    dying=False,
    shutdown=None,
    memory_kib=640 * 1024,
    max_memory_kib=641 * 1024,
    vcpus=2,
    cpu_time_ns=12_345_678_901,
)
DOM0_DETAIL = DomainDetail(INFO, True, False, 77, 2, 1, 0)
COMMAND = Command("c", "", None, (Opt("n", number(1, 9)), Opt("s", str, "x"), Opt("flag", None, False)))


def test_options_are_read_when_they_are_asked_for() -> None:
    given, warnings = parse(COMMAND, ["-n", "no number", "-flag", "word", "-z"])
    assert (given["s"], given["flag"], given["debug"], given.rest) == ("x", True, False, ("word",))
    assert warnings == ["unknown option -z is ignored"]
    with pytest.raises(BadRequest, match='"n" argument is not valid'):
        given["n"]


@pytest.mark.parametrize("words", [[], ["-n"], ["-n", "0"], ["-n", "10"], ["-n", "²"]])
def test_what_must_be_given_must_be_right(words: list[str]) -> None:
    given, _ = parse(COMMAND, words)
    with pytest.raises(BadRequest):
        given["n"]


def test_numbers_may_be_hexadecimal() -> None:
    assert number()("0x3f8") == 1016


def test_a_bitmap_counts_processors_from_the_left() -> None:
    assert bitmap("0101") == {1, 3}
    assert show.affinity(frozenset({1, 3}), 4) == "0101"


def test_every_command_does_something_or_says_why_not() -> None:
    for command in COMMANDS:
        assert (command.handler is None) == bool(command.why_not), command.name
        assert command.summary


def test_no_two_commands_answer_to_one_name() -> None:
    assert len(BY_NAME) == sum(1 + len(command.aliases) for command in COMMANDS)


def test_the_long_table_has_all_columns_right_aligned() -> None:
    guest = replace(
        INFO, domid=Domid(12), kind=Kind.HVM, paused=True, shutdown=ShutdownReason.CRASH, memory_kib=8192
    )
    lines = show.table(
        [DOM0_DETAIL, replace(DOM0_DETAIL, info=guest, running=False)], verbose=True
    ).splitlines()
    assert lines[0].split(" | ") == [
        *("id", " state", "shutdown code", "total MiB", "max MiB", "sif", "   cpu time", "vcpus online"),
        *("max vcpu id", "ssidref", "                                uuid"),
    ]
    assert lines[1].split(" | ")[:4] == [" 0", "    R ", "            0", "      640"]
    assert lines[2].split(" | ")[:4] == ["12", " SP  H", "            3", "        8"]


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "gone"),
        ("4", "connected"),
        ("6", "closed"),
        ("9", "unknown"),
        ("", "unknown"),
        ("٤", "unknown"),
    ],
)
def test_states_that_a_guest_may_write_have_a_word(value: str | None, word: str) -> None:
    assert show.xenbus_state(value) == word
