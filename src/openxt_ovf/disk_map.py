# SPDX-License-Identifier: GPL-2.0-or-later
"""The map file: which image belongs to which disk, when images are imported apart from their VMs.  Pure.

    IMAGEID=PATH KEYPATH SYSTEMID INDEX       one line an image; blanks inside fields as %20

Paths are those of a dom0.  KEYPATH is empty for a disk without key, SYSTEMID and INDEX for a shared image.
A disk is looked up as (system, index, image) first, then by its image id alone.  Source: OpenXT apptool 1.0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from openxt_core.errors import BadRequest
from openxt_ovf.plan import Image, Plan, Vm
from openxt_ovf.units import whole_number


@dataclass(frozen=True, slots=True)
class Line:
    image: str
    path: str
    key_path: str = ""
    system: str = ""
    index: int | None = None


def write(lines: Iterable[Line]) -> str:
    return "".join(f"{_text(line)}\n" for line in lines)


def _text(line: Line) -> str:
    index = "" if line.index is None else str(line.index)
    fields = " ".join(_escaped(text) for text in (line.path, line.key_path, line.system, index))
    return f"{_escaped(line.image)}={fields}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace(" ", "%20").replace("=", "%3D").replace("\n", "%0A")


def _plain(text: str) -> str:
    return text.replace("%0A", "\n").replace("%3D", "=").replace("%20", " ").replace("%25", "%")


def read(text: str) -> list[Line]:
    """Raises BadRequest for a line that is none."""
    return [_line(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _line(number: int, text: str) -> Line:
    image, equals, rest = text.partition("=")
    fields = [_plain(part) for part in rest.split(" ")]
    if not equals or not image or not fields[0] or len(fields) > 4:
        raise BadRequest(f"disk image map: line {number} is no IMAGEID=PATH KEYPATH SYSTEMID INDEX")
    path, key_path, system, index = (*fields, "", "", "")[:4]
    what = f"disk image map: INDEX in line {number}"
    return Line(_plain(image), path, key_path, system, whole_number(index.strip(), what))


def with_images(plan: Plan, lines: Sequence[Line]) -> Plan:
    """The plan with images that exist.  Raises BadRequest for a disk that is not in the map."""
    return replace(plan, images=(), vms=tuple(_vm(vm, lines) for vm in plan.vms))


def _vm(vm: Vm, lines: Sequence[Line]) -> Vm:
    drives = tuple(
        drive if drive.image is None else replace(drive, image=_mapped(drive.image, vm.system, index, lines))
        for index, drive in enumerate(vm.drives)
    )
    return replace(vm, drives=drives)


def _mapped(image: Image, system: str, index: int, lines: Sequence[Line]) -> Image:
    same = [line for line in lines if line.image == image.disk.id]
    exact = [line for line in same if (line.system, line.index) == (system, index)]
    for line in (*exact, *same):
        return replace(image, path=line.path)
    raise BadRequest(f"the disk image map has no image for disk {image.disk.id[:80]!r}")
