# SPDX-License-Identifier: GPL-2.0-or-later
"""Templates: JSON documents that new VMs are made from, one file each in the folder of the flavour.

A file named `service-<tag>` is a service VM, made anew at each start; `child-<tag>` a child service VM;
any other can be chosen by name.  A file that cannot be read is set aside and reported, the rest work.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openxt_core.errors import BadRequest, IoError
from openxt_core.ids import parse_uuid
from openxt_core.places import Places
from openxt_xenmgr.properties.table import Stored, complaint
from openxt_xenmgr.properties.vm import STORED
from openxt_xenmgr.vm.model import check_virt_type
from openxt_xenmgr.vm.tree import Tree, maybe_text, parse_bool, parse_int, text, texts_only

log = logging.getLogger(__name__)

SERVICE = "service-"
CHILD = "child-"
DEFAULT = "new-vm"
_CHECKOUT = Path(__file__).resolve().parents[3] / "templates"


def folder_of(places: Places, environ: Mapping[str, str]) -> Path:
    """The folder of the flavour: below OPENXT_TEMPLATES, else the host's, else that of a checkout."""
    flavour = flavour_of(places)
    chosen = environ.get("OPENXT_TEMPLATES")
    tops = [Path(chosen)] if chosen else [places.templates, _CHECKOUT]
    candidates = [top / name for top in tops for name in (flavour, "default")]
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def flavour_of(places: Places) -> str:
    try:
        word = places.flavour.read_text().strip()
    except OSError:
        return "default"
    return word if word and "/" not in word and word != ".." else "default"


@dataclass(frozen=True)
class Templates:
    """The templates in one folder; read anew at each question, so that a changed file counts at once."""

    folder: Path

    def tags(self) -> list[str]:
        """Names of all templates, in the order of their names; empty when the folder is missing."""
        try:
            files = sorted(path for path in self.folder.iterdir() if path.is_file())
        except OSError as error:
            log.warning("no templates in %s: %s", self.folder, error.strerror)
            return []
        return list(dict.fromkeys(path.stem if path.suffix else path.name for path in files))

    def names(self) -> list[str]:
        """What can be chosen by name: all but the service VMs."""
        return [tag for tag in self.tags() if not tag.startswith(SERVICE)]

    def children(self) -> list[str]:
        """Tags of the child service VMs, without the prefix."""
        return [tag.removeprefix(CHILD) for tag in self.tags() if tag.startswith(CHILD)]

    def for_ui(self) -> list[dict[str, str]]:
        """Those that ask to be offered to the user."""
        found = ((name, self._quietly(name)) for name in self.names())
        return [
            {"template": name, "description": text(tree, "description")}
            for name, tree in found
            if tree is not None and text(tree, "ui-selectable") == "true"
        ]

    def services(self) -> dict[str, dict[str, Any]]:
        """Service templates by tag; a broken one is reported in the log and left out."""
        found: dict[str, dict[str, Any]] = {}
        for tag in self.tags():
            tree = self._quietly(tag) if tag.startswith(SERVICE) else None
            if tree is None:
                continue
            if not maybe_text(tree, "uuid"):
                log.error("template %s is set aside: it names no uuid", tag)
                continue
            found[tag.removeprefix(SERVICE)] = tree
        return found

    def _quietly(self, tag: str) -> dict[str, Any] | None:
        try:
            return self.read(tag)
        except (BadRequest, IoError) as error:
            log.error("template %s is set aside: %s", tag, error)
            return None

    def read(self, name: str) -> dict[str, Any]:
        """The template; blank is the empty one.  Raises IoError (223) and BadRequest."""
        if not name.strip():
            return {}
        if "/" in name or name.startswith("."):
            raise BadRequest(f"not the name of a template: {name[:60]!r}")
        try:
            content = self._file(name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise IoError(f"IO error: template {name[:60]!r}: {reason}") from error
        return parse_document(content, f"template {name}")

    def _file(self, name: str) -> Path:
        """The file of a tag: its own name, or with an extension."""
        plain = self.folder / name
        if plain.is_file():
            return plain
        same = (path for path in sorted(self.folder.glob("*.*")) if path.stem == name)
        return next(same, plain)


def parse_document(content: str, what: str) -> dict[str, Any]:
    """A JSON object as a VM's tree; blank is the empty one.

    Raises BadRequest naming the place in the text, or the key and what its value must be.
    """
    if not content.strip():
        return {}
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{what}: malformed JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadRequest(f"{what}: a JSON object is expected")
    try:
        tree: dict[str, Any] = texts_only(document)
        check_document(tree)
    except BadRequest as error:
        raise BadRequest(f"{what}: {error}") from error
    except RecursionError as error:
        raise BadRequest(f"{what}: nested too deep") from error
    return tree


def check_document(tree: Tree) -> None:
    """Raises BadRequest for a value that its property would not take."""
    for row in STORED:
        if isinstance(row, Stored):
            _check_leaf(row, maybe_text(tree, row.key))
    check_virt_type(tree)
    if maybe_text(tree, "uuid"):
        parse_uuid(text(tree, "uuid"))


def _check_leaf(row: Stored, leaf: str | None) -> None:
    if leaf is None or leaf == "":
        return
    kinds = {"b": ("true or false", parse_bool), "i": ("a number", parse_int)}
    if row.type in kinds:
        expected, parse = kinds[row.type]
        value = parse(leaf)
        wrong = f"{expected} is expected" if value is None else complaint(row, value)
    else:
        wrong = complaint(row, leaf)
    if wrong:
        raise BadRequest(f"{row.key} cannot be {leaf[:60]!r}: {wrong}")
