# SPDX-License-Identifier: GPL-2.0-or-later
"""What the next monitor of a VM must know if this one dies: a small file, gone at boot.

It is there exactly while the VM has a domain, is suspended, or an operation is under way.  Written whole or
not at all; one that cannot be read counts as missing, since Xen itself says what runs.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xenvm.devices.backing import Attachment
from openxt_xenvm.state import VmState

log = logging.getLogger(__name__)

VERSION = 3


@dataclass(frozen=True, slots=True)
class Operation:
    """A task that changes the VM's life, with its arguments."""

    name: str  # start, halt, reboot, destroy, died, suspend, checkpoint, restore, plug, unplug, replace
    forced: bool = False
    paused: bool = False
    auto_start: bool = False
    fate: str = ""  # died: how
    action: str = ""  # died: what the config says to that
    file: str = ""  # of a suspended VM
    mark: str = ""  # in that file, once it is whole
    delete: bool = False  # restore: that file, in the end
    kind: str = ""  # plug, unplug, replace: of the device
    devid: int = 0
    address: str = ""  # of a PCI device


STOPPING = frozenset({"destroy", "halt", "reboot", "died"})
"""Operations that go on although they cannot be noted: a full disk must not keep a domain alive."""

START_AGAIN = Operation("start", auto_start=True)
"""The second half of a reboot: one that was cut short is begun once more."""


@dataclass(frozen=True, slots=True)
class Record:
    uuid: Uuid
    pid: int  # of the monitor that wrote it
    config: str  # path of the config file, may be empty
    state: VmState
    domid: Domid | None = None
    backends: tuple[Domid, ...] = (DOM0,)  # domains that hold backends of ours
    operation: Operation | None = None
    attached: tuple[Attachment, ...] = ()  # ours, to be given back
    devices: tuple[str, ...] = ()  # what the domain has, in the config file's words
    stubdom: Uuid | None = None  # found by it in Xen's list


def as_json(record: Record) -> str:
    found = _fields(record)
    found["operation"] = None if record.operation is None else _fields(record.operation)
    found["attached"] = [_fields(attachment) for attachment in record.attached]
    return json.dumps({"version": VERSION, **found})


def _fields(value: Any) -> dict[str, Any]:
    """Of a flat dataclass: `asdict` copies whatever is in it, which takes ten times as long."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def from_json(text: str) -> Record:
    """Raises ValueError for anything but a record of this version."""
    try:
        return _from_mapping(json.loads(text))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record: {error!r}") from error


def _from_mapping(found: Mapping[str, Any]) -> Record:
    if found["version"] != VERSION:
        raise ValueError(f"record of version {found['version']!r}")
    operation, domid = found["operation"], found["domid"]
    stubdom = found.get("stubdom")  # older records have none
    return Record(
        Uuid(str(found["uuid"])),
        int(found["pid"]),
        str(found["config"]),
        VmState(found["state"]),
        None if domid is None else Domid(int(domid)),
        tuple(Domid(int(backend)) for backend in found["backends"]),
        None if operation is None else Operation(**operation),
        tuple(Attachment(**attachment) for attachment in found["attached"]),
        tuple(str(line) for line in found["devices"]),
        None if stubdom is None else Uuid(str(stubdom)),
    )


def load(path: Path) -> Record | None:
    """None when there is none, or none that can be used."""
    try:
        return from_json(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("the record %s is of no use: %s", path, error)
        return None


def save(path: Path, record: Record) -> None:
    """A reader sees the old record or this one, never a part.  No fsync: it need not survive a boot."""
    draft = path.with_suffix(".new")
    try:
        descriptor = _open_new(draft)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = _open_new(draft)
    try:
        _write(descriptor, as_json(record).encode())
    finally:
        os.close(descriptor)
    draft.replace(path)


def _open_new(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".new").unlink(missing_ok=True)
