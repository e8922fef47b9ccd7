# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON schema of `/vm/<uuid>`, made from the property rows.  Pure but for `main`, which writes the file.

dbd's `db-check` reads that file: it shall know what xenmgr understands without knowing xenmgr.  A leaf may
be a text, as everything that is written through dbd is, or the JSON value that older files hold.  Every
schema of a leaf says in `description` what is expected.  Keys that no row names may hold anything.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from openxt_xenmgr.properties import disk, nic
from openxt_xenmgr.properties.table import Joined, Live, Stored
from openxt_xenmgr.properties.vm import STORED
from openxt_xenmgr.vm.graph import NEEDED_KEY
from openxt_xenmgr.vm.model import VIRT_TYPES
from openxt_xenmgr.vm.rules import NET_KEY, PCI_KEY, V4V_KEY

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BOOLEAN = {
    "description": "true or false",
    "type": ["boolean", "string"],
    "pattern": r"^\s*([Tt][Rr][Uu][Ee]|[Yy][Ee][Ss]|1|[Ff][Aa][Ll][Ss][Ee]|[Nn][Oo]|0)\s*$",
}
TEXT = {"description": "a text", "type": ["string", "boolean", "number"]}
TEXTS = {"description": "a list of texts", "type": "object", "additionalProperties": TEXT}
# Least value → pattern of a number's text; the sign is all that it has to look at.
NUMBERS = {
    None: r"^\s*-?(0[xX][0-9a-fA-F]+|[0-9]+)\s*$",
    0: r"^\s*(0[xX][0-9a-fA-F]+|[0-9]+)\s*$",
    -1: r"^\s*(-0*1|0[xX][0-9a-fA-F]+|[0-9]+)\s*$",
    1: r"^\s*(0[xX]0*[1-9a-fA-F][0-9a-fA-F]*|0*[1-9][0-9]*)\s*$",
}


def leaf(row: Stored) -> Schema:
    match row.type:
        case "b":
            return BOOLEAN
        case "i":
            return _number(row.least, row.most, row.unit)
    text = TEXT if row.most is None else _text_up_to(row.most)
    if row.form is not None:
        return {**text, "description": row.form.says, "pattern": f"^({row.form.pattern})$"}
    if not row.words:
        return text
    return {"description": f"one of {', '.join(map(repr, row.words))}", "enum": list(row.words)}


def _text_up_to(most: int) -> Schema:
    return {**TEXT, "description": f"a text of {most} characters at most", "maxLength": most}


def _number(least: int | None, most: int | None = None, unit: str = "") -> Schema:
    wording = "a number" if least is None else f"a number of {least} or more"
    if most is not None:
        wording = f"a number from {least} to {most}"
    schema = {
        "description": f"{wording} ({unit})" if unit else wording,
        "type": ["integer", "string"],
        "pattern": NUMBERS[least] if most is None else _between(least or 0, most),
    }
    limits = {"minimum": least, "maximum": most}
    return {**schema, **{name: limit for name, limit in limits.items() if limit is not None}}


def _between(least: int, most: int) -> str:
    """Pattern of the texts of numbers from 0 or 1 on; hexadecimal ones are held to the number of digits."""
    digits = str(most)
    smaller = [
        rf"{digits[:at]}[0-{int(digit) - 1}][0-9]{{{len(digits) - at - 1}}}"
        for at, digit in enumerate(digits)
        if digit != "0"
    ]
    shorter = [rf"[0-9]{{1,{len(digits) - 1}}}"] if len(digits) > 1 else []
    hexadecimal = rf"0[xX]0*[0-9a-fA-F]{{1,{len(f'{most:x}')}}}"
    not_zero = r"(?!(0[xX])?0+\s*$)" if least else ""
    return rf"^\s*{not_zero}(0*({'|'.join((*shorter, *smaller, digits))})|{hexadecimal})\s*$"


def nested(leaves: Iterable[tuple[str, Schema]]) -> Schema:
    """Keys such as `config/memory` → objects within objects."""
    whole = _object()
    for key, schema in leaves:
        *above, last = key.split("/")
        at = whole
        for name in above:
            at = at["properties"].setdefault(name, _object())
        at["properties"][last] = schema
    return whole


def _object() -> Schema:
    return {"description": "an object", "type": "object", "properties": {}}


def numbered(entry: Schema) -> Schema:
    """Records with a number for a name."""
    return {
        "description": "records with numbers for names",
        "type": "object",
        "patternProperties": {"^[0-9]+$": entry},
        "additionalProperties": False,
    }


def of_rows(rows: Sequence[Any]) -> list[tuple[str, Schema]]:
    stored = [row for row in rows if not isinstance(row, Live)]
    return [(row.key, TEXTS if isinstance(row, Joined) else leaf(row)) for row in stored]


PCI_RULE = nested(
    [(name, _number(0)) for name in ("class", "vendor", "device")] + [("force-slot", BOOLEAN), ("bdf", TEXT)]
)


def vm_schema() -> Schema:
    """Of all that is stored of a VM."""
    more = [
        ("uuid", TEXT),
        ("config/virt-type", {"description": f"one of {', '.join(VIRT_TYPES)}", "enum": list(VIRT_TYPES)}),
        ("config/disk", numbered(nested(of_rows(disk.ROWS)))),
        ("config/nic", numbered(nested(of_rows(nic.ROWS)))),
        (PCI_KEY, numbered(PCI_RULE)),
        (NET_KEY, numbered({**TEXTS, "description": "an object of texts"})),
        (V4V_KEY, TEXTS),
        (NEEDED_KEY, TEXTS),
    ]
    return {"$schema": DIALECT, "title": "/vm/<uuid>", **nested([*of_rows(STORED), *more])}


def text() -> str:
    """What the file holds."""
    return json.dumps(vm_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
