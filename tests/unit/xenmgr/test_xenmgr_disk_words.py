# SPDX-License-Identifier: GPL-2.0-or-later
"""Words about what is in a VM's disks: where its kernel is, which sums its disks must have."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid
from openxt_xenmgr.vm.extraction import Source, extraction_obstacles, parse_source, sources
from openxt_xenmgr.vm.measuring import SHA1, SHA256, checks_of, measuring_obstacles, parse_sum, sum_key
from openxt_xenmgr.vm.model import VmConfig

T = TypeVar("T")
KEY = "config/kernel-extract"
PATHS = st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: bool(text.strip())
)


def outcome(parse: Callable[[str, str], T], key: str, text: str) -> T | BadRequest:
    try:
        return parse(key, text)
    except BadRequest as refusal:
        return refusal


def config(**tree: object) -> VmConfig:
    return VmConfig.of(Uuid("11111111-2222-3333-4444-555555555555"), {"config": tree, "measured": "true"})


@given(PATHS, st.integers(0, 99999), st.integers(0, 99999))
def test_a_source_is_a_path_with_a_disk_and_a_partition_if_they_are_named(
    path: str, disk: int, partition: int
) -> None:
    assert parse_source(KEY, path) == Source(path.strip())
    assert parse_source(KEY, f"{disk}:{path}") == Source(path.strip(), disk)
    assert parse_source(KEY, f"{disk},{partition}:{path}") == Source(path.strip(), disk, partition)


@given(st.text())
def test_any_text_is_a_source_none_or_refused_by_the_key(text: str) -> None:
    found = outcome(parse_source, KEY, text)
    if isinstance(found, BadRequest):
        assert KEY in str(found)
        assert ":" in text
    else:
        assert (found is None) == (text.strip().rpartition(":")[2].strip() == "")


@pytest.mark.parametrize("text", ["a:b", "0:1:/x", "-1:/x", "0,:/x", ",1:/x", "0,1,2:/x", "1000000:/x"])
def test_a_bad_number_or_a_colon_too_many_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="DISK,PARTITION:PATH"):
        parse_source(KEY, text)


def test_an_initrd_without_a_place_to_go_and_full_machines_take_nothing_out() -> None:
    extracts = {"kernel-extract": "/k", "initrd-extract": "/i", "disk": {"0": {}}}
    assert list(sources(config(**extracts))) == ["kernel-extract"]
    assert list(sources(config(**extracts, initrd="/tmp/i"))) == ["kernel-extract", "initrd-extract"]
    assert sources(config(**extracts, hvm="true")) == {}


def test_a_source_on_a_disk_that_is_not_there_is_said() -> None:
    (found,) = extraction_obstacles(config(**{"kernel-extract": "3:/k"}))
    assert "disk 3" in str(found)


@given(st.integers(0, 2**256 - 1))
def test_a_sum_is_its_number_in_any_case_with_its_zeros(number: int) -> None:
    key = sum_key(0, SHA256)
    assert parse_sum(key, f" {number:X} ") == f"{number:064x}"


@given(st.text())
def test_what_is_no_sum_is_refused_by_its_key(text: str) -> None:
    key = sum_key(7, SHA1)
    found = outcome(parse_sum, key, text)
    if isinstance(found, BadRequest):
        assert key in str(found)
    else:
        assert int(found, 16) == int(text.strip(), 16)
        assert len(found) == 40


def test_every_stored_sum_is_checked_and_old_ones_first() -> None:
    disks = {"0": {SHA256: "1", "path": "/a"}, "1": {SHA1: "2", "path": "/b"}, "2": {"path": "/c"}}
    found = [(check.disk.id, check.kind, int(check.expected, 16)) for check in checks_of(config(disk=disks))]
    assert found == [(1, SHA1, 2), (0, SHA256, 1)]


def test_a_measured_vm_without_a_first_disk_cannot_start() -> None:
    (found,) = measuring_obstacles(config(disk={"1": {"path": "/b"}}))
    assert "no disk 0" in str(found)
