# SPDX-License-Identifier: GPL-2.0-or-later
"""The run-time record: read back as written, never half written, never an obstacle."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from openxt_core.ids import Domid, Uuid
from openxt_xenvm import record
from openxt_xenvm.devices.backing import Attachment
from openxt_xenvm.record import Operation, Record
from openxt_xenvm.state import VmState

UUID = Uuid("00000000-0000-0000-0000-000000000001")
DOMIDS = st.integers(0, 32751).map(Domid)
OPERATIONS = st.builds(
    Operation, st.text(), st.booleans(), st.booleans(), st.booleans(), st.text(), st.text()
)
RECORDS = st.builds(
    Record,
    st.just(UUID),
    st.integers(1),
    st.text(),
    st.sampled_from(VmState),
    st.none() | DOMIDS,
    st.lists(DOMIDS).map(tuple),
    st.none() | OPERATIONS,
    st.lists(st.builds(Attachment, *[st.integers(0)] * 2, *[st.text()] * 3)).map(tuple),
    st.lists(st.text()).map(tuple),
    st.none() | st.just(Uuid("00000000-0000-0000-0000-0000000000d0")),
)


@given(RECORDS)
def test_a_record_reads_back_as_it_was_written(kept: Record) -> None:
    assert record.from_json(record.as_json(kept)) == kept


def test_a_record_from_before_stub_domains_were_kept_is_read() -> None:
    kept = Record(UUID, 1, "/c", VmState.RUNNING, Domid(3))
    found = json.loads(record.as_json(kept))
    del found["stubdom"]
    assert record.from_json(json.dumps(found)) == kept


@given(st.text() | RECORDS.map(lambda kept: record.as_json(kept)[:-1]))
def test_what_is_no_record_is_a_value_error(text: str) -> None:
    try:
        record.from_json(text)
    except ValueError:
        return
    raise AssertionError(text)


def test_it_is_private_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "xenvm" / "record.json"
    record.save(path, Record(UUID, 1, "/c", VmState.RUNNING, Domid(3)))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]
    record.remove(path)
    assert record.load(path) is None


def test_a_broken_file_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    for content in (b"", b"{", b"[]", b"\xff", b'{"version": 2}', b'{"version": 1}'):
        path.write_bytes(content)
        assert record.load(path) is None
