# SPDX-License-Identifier: GPL-2.0-or-later
"""What db-check finds in the tree of a VM: each wrong key once, with its value and what is expected."""

from typing import Any

import pytest

from openxt_dbd.db_check import Checker

CHECKER = Checker()


def told(tree: Any) -> list[str]:
    return [str(problem) for problem in CHECKER.problems("u", tree)]


def leaf(key: str, value: Any) -> Any:
    for part in reversed(key.split("/")):
        value = {part: value}
    return value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config/memory", "1024"),
        ("config/memory", 1024),
        ("config/memory", " 0x400 "),
        ("config/hvm", "true"),
        ("config/hvm", "No"),
        ("config/hvm", False),
        ("name", "any text"),
        ("name", 7),
        ("name", None),
        ("slot", "-1"),
        ("os", "linux"),
        ("config/disk/0/mode", "r"),
        ("config/nic/17/mac", "auto"),
        ("config/pci/0/class", "0x0300"),
        ("config/extra-hvm", {"0": "a=b"}),
        ("v4v-firewall-rules", {"0": "myself -> 0:80"}),
        ("a-key-of-somebody-else", ["anything"]),
        ("config/unknown", {"deep": {"er": 1}}),
    ],
)
def test_what_makes_sense_is_not_told(key: str, value: Any) -> None:
    assert told(leaf(key, value)) == []


@pytest.mark.parametrize(
    ("key", "value", "shown", "expected"),
    [
        ("config/memory", "lots", '"lots"', "a number from 0 to 16777216 (MiB)"),
        ("config/memory", "-1", '"-1"', "a number from 0 to 16777216 (MiB)"),
        ("config/memory", -1, "-1", "a number from 0 to 16777216 (MiB)"),
        ("config/memory", 1.5, "1.5", "a number from 0 to 16777216 (MiB)"),
        ("config/memory", True, "true", "a number from 0 to 16777216 (MiB)"),
        ("config/memory", "16777217", '"16777217"', "a number from 0 to 16777216 (MiB)"),
        ("config/vcpus", "0", '"0"', "a number from 1 to 512"),
        ("config/vcpus", "00", '"00"', "a number from 1 to 512"),
        ("config/vcpus", "513", '"513"', "a number from 1 to 512"),
        ("config/vcpus", 1000, "1000", "a number from 1 to 512"),
        ("slot", "", '""', "a number of -1 or more"),
        ("config/hvm", "maybe", '"maybe"', "true or false"),
        ("config/hvm", 2, "2", "true or false"),
        ("os", "beos", '"beos"', "one of 'linux', 'windows', 'windows8', 'unknown'"),
        ("name", {"a": "b"}, '{"a": "b"}', "a text of 512 characters at most"),
        ("name", [1], "[1]", "a text of 512 characters at most"),
        ("description", [1], "[1]", "a text"),
        ("config", "text", '"text"', "an object"),
        ("config/virt-type", "lguest", '"lguest"', "one of pv, pvh, hvm"),
        ("config/disk", "x", '"x"', "records with numbers for names"),
        ("config/disk/first", {}, "{}", "a number for a name"),
        ("config/disk/0/mode", "rw", '"rw"', "one of 'r', 'w'"),
        ("config/nic/0/enable", "x", '"x"', "true or false"),
        ("config/pci/0/vendor", "intel", '"intel"', "a number of 0 or more"),
        ("config/extra-hvm", "a=b", '"a=b"', "a list of texts"),
        ("v4v-firewall-rules/0", {}, "{}", "a text"),
    ],
)
def test_what_makes_no_sense_is_told_with_value_and_expectation(
    key: str, value: Any, shown: str, expected: str
) -> None:
    assert told(leaf(key, value)) == [f"/vm/u/{key} is {shown}, expected {expected}"]


@pytest.mark.parametrize("tree", [None, "leaf", 1, [1]])
def test_a_vm_that_is_no_object_is_told(tree: Any) -> None:
    assert [line.endswith("expected an object") for line in told(tree)] == [True]


def test_all_that_is_wrong_is_told_in_the_order_of_paths() -> None:
    lines = told({"slot": "x", "config": {"memory": "x", "disk": {"0": {"mode": "x"}}}})
    assert [line.split(" is ")[0] for line in lines] == [
        "/vm/u/config/disk/0/mode",
        "/vm/u/config/memory",
        "/vm/u/slot",
    ]


def test_a_long_value_is_cut() -> None:
    (line,) = told({"slot": "x" * 1000})
    assert len(line) < 200
