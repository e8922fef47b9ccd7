# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command line of xec asks for."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_xec import grammar
from openxt_xec.grammar import OPTIONS, Request, UsageError, request_of, usage

ACTIONS = [
    ("", grammar.INTROSPECT, []),
    ("list-vms", grammar.CALL, ["list_vms"]),
    ("create-vm a-b -x", grammar.CALL, ["create_vm", "a-b", "-x"]),
    ("getall", grammar.GET_ALL, []),
    ("get start-on-boot", grammar.GET, ["start-on-boot"]),
    ("set start-on-boot true", grammar.SET, ["start-on-boot", "true"]),
    ("-g memory", grammar.GET, ["memory"]),
    ("--get memory", grammar.GET, ["memory"]),
    ("-i a.b -g", grammar.GET_ALL, []),
    ("-x memory 5", grammar.SET, ["memory", "5"]),
    ("--set memory -5", grammar.SET, ["memory", "-5"]),
    ("--list-interfaces", grammar.LIST_INTERFACES, []),
    ("--list-methods", grammar.LIST_METHODS, []),
    ("--list-properties", grammar.LIST_PROPERTIES, []),
    ("-h", grammar.HELP, []),
    ("-x a b -g c get d", grammar.GET, ["c"]),
    ("-x a b get d", grammar.SET, ["a", "b"]),
    ("-g a --list-properties --list-methods", grammar.LIST_METHODS, []),
    ("--list-interfaces --help -g a", grammar.HELP, []),
    ("--list-interfaces -i", grammar.LIST_INTERFACES, []),
    ("--list-properties -x memory", grammar.LIST_PROPERTIES, []),
]


def asked(line: str) -> Request:
    return request_of(line.split())


@pytest.mark.parametrize(("line", "action", "names"), ACTIONS)
def test_a_line_asks_for_one_action(line: str, action: str, names: Sequence[str]) -> None:
    request = asked(line)
    assert (request.action, list(request.names)) == (action, names)


def test_without_options_the_root_of_xenmgr_is_meant() -> None:
    request = request_of(["list-vms"])
    assert (request.service, request.path, request.interface) == ("com.citrix.xenclient.xenmgr", "/", "")
    assert (request.domid, request.is_session, request.is_quiet) == (-1, False, False)


def test_every_option_has_its_effect() -> None:
    request = asked("-s a.b -o /c -i d.e -t 3 --session -q m")
    assert (request.service, request.path, request.interface) == ("a.b", "/c", "d.e")
    assert (request.domid, request.is_session, request.is_quiet) == (3, True, True)


def test_of_an_option_given_twice_the_first_counts() -> None:
    assert asked("-o /a --object /b m").path == "/a"


@pytest.mark.parametrize("word", ["x", "", "-2", "1.5", "٣"])
def test_a_domain_that_is_no_number_means_none(word: str) -> None:
    assert request_of(["-t", word, "m"]).domid == -1


def test_options_after_the_first_word_are_arguments() -> None:
    request = asked("m -o /a")
    assert (request.path, list(request.names)) == ("/", ["m", "-o", "/a"])


@pytest.mark.parametrize(
    "line",
    [
        "--unknown",
        "-qi a.b",
        "--service=x list-vms",
        "-",
        "-i",
        "-x memory",
        "-o / -s",
        "get",
        "set",
        "set memory",
        "set memory 1 2",
        "get a b",
        "getall x",
    ],
)
def test_a_line_that_makes_no_request_is_a_usage_error(line: str) -> None:
    with pytest.raises(UsageError):
        asked(line)


def test_help_names_every_option() -> None:
    text = usage("Usage: xec", OPTIONS)
    assert all(word in text for option in OPTIONS for word in option.words)


@given(st.lists(st.sampled_from([w for o in OPTIONS for w in o.words]) | st.text(max_size=3)))
def test_any_words_are_a_request_or_a_usage_error(words: list[str]) -> None:
    try:
        request = request_of(words)
    except UsageError:
        return
    typed = [word.replace("-", "_") for word in words]
    assert all(name.replace("-", "_") in typed for name in request.names)
