# SPDX-License-Identifier: GPL-2.0-or-later
"""Every member of every interface, as GLib marshals it and as JSON: our codecs read and write the same.

tests/golden/messages/make.py made the files, without any code of ours.
"""

import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dbus_fast._private.unmarshaller import Unmarshaller

from openxt_bus import codec
from openxt_bus.message import decode as from_dbus_fast
from openxt_core.signature import Variant
from openxt_core.spec import IdlFile, Interface
from openxt_idl.read import read_file
from openxt_rpcproxy import json_form

HERE = Path(__file__).parent
FILES = sorted((HERE.parents[1] / "idl").glob("*.xml"))
JSON_VARIANTS = "sbi"  # what a JSON value in a variant can become

by_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@cache
def golden(path: Path) -> list[dict[str, Any]]:
    lines = (HERE.parent / "golden" / "messages" / f"{path.stem}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def forms(interface: Interface) -> Iterator[tuple[str, str, str, str]]:
    """Interface, member, form and signature of the body of each message that can travel."""
    name = interface.name
    for method in interface.methods:
        yield name, method.name, "call", method.in_signature
        yield name, method.name, "reply", method.out_signature
    for signal in interface.signals:
        yield name, signal.name, "signal", signal.signature
    for prop in interface.properties:
        if prop.readable:
            yield name, prop.name, "get", "ss"
            yield name, prop.name, "value", "v"
        if prop.writable:
            yield name, prop.name, "set", "ssv"


def signatures(file: IdlFile) -> list[tuple[str, str, str, str]]:
    return [form for interface in file.interfaces for form in forms(interface)]


def plain(value: Any) -> Any:
    """Structs as lists, so that codecs can be compared."""
    if isinstance(value, Variant):
        return ("variant", value.signature, plain(value.value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@by_file
def test_there_is_a_message_for_every_member_and_form(path: Path) -> None:
    found = [
        (
            row["interface"],
            row["member"],
            row["form"],
            codec.decode(bytes.fromhex(row["dbus"])).fields.get(8, ""),
        )
        for row in golden(path)
    ]
    assert sorted(found) == sorted(signatures(read_file(path)))


@by_file
def test_what_is_read_is_written_the_same(path: Path) -> None:
    for row in golden(path):
        data = bytes.fromhex(row["dbus"])
        message = codec.decode(data)
        body = codec.encode_body(message.body, message.fields.get(codec.SIGNATURE, ""))
        assert data.endswith(body), row
        assert len(data) == codec.size_of(data[:16])
        again = codec.decode(codec.encode(message))
        assert (again.type, again.serial, again.fields) == (message.type, message.serial, message.fields), row
        assert plain(again.body) == plain(message.body), row


@by_file
def test_the_codec_of_the_daemons_reads_the_same(path: Path) -> None:
    for row in golden(path):
        data = bytes.fromhex(row["dbus"])
        ours = codec.decode(data)
        theirs = Unmarshaller(io.BytesIO(data)).unmarshall()
        assert theirs is not None
        assert theirs.signature == ours.fields.get(codec.SIGNATURE, ""), row
        assert plain(list(from_dbus_fast(theirs.body, theirs.signature))) == plain(ours.body), row


@by_file
def test_as_json_it_says_the_same(path: Path) -> None:
    for row in golden(path):
        message = codec.decode(bytes.fromhex(row["dbus"]))
        assert json.loads(json_form.write(message, message.serial)) == row["json"], row


@by_file
def test_json_becomes_the_same_message(path: Path) -> None:
    for row in golden(path):
        message = codec.decode(bytes.fromhex(row["dbus"]))
        if _loses_its_type(message):
            continue
        incoming = json_form.read(json.dumps(row["json"]).encode())
        made = codec.decode(json_form.message(incoming, message.fields.get(codec.SIGNATURE, "")))
        assert (made.type, made.serial) == (message.type, message.serial), row
        assert plain(made.body) == plain(message.body), row


def _loses_its_type(message: codec.Message) -> bool:
    """A variant in JSON is s, b or i; only these come back as they were."""
    return any(isinstance(v, Variant) and v.signature not in JSON_VARIANTS for v in message.body)
