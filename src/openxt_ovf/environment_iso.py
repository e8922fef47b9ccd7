# SPDX-License-Identifier: GPL-2.0-or-later
"""The OVF environment of a VM, as a document and as a CD image with the files that belong to it.

Source: DMTF DSP0243, clause 11.2 (the ISO transport): `ovf-env.xml` and the package's files from the top.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import NotSupported, Unavailable
from openxt_core.ids import Uuid
from openxt_core.ovf_environment import environment
from openxt_core.places import Places
from openxt_ovf import inventory, programs
from openxt_ovf.host import Host
from openxt_ovf.plan import ENVIRONMENT_FILES

DOCUMENT = "ovf-env.xml"
MAKERS = ("xorrisofs", "genisoimage", "mkisofs")  # each knows the same options


@dataclass(frozen=True)
class Environments:
    host: Host
    places: Places

    def document(self, uuid: Uuid) -> str:
        """Raises BadRequest for a VM outside any appliance."""
        return environment(self.host.tree(inventory.ROOT), uuid, self._properties)

    def _properties(self, uuid: str) -> dict[str, object]:
        return self.host.tree(f"/vm/{uuid}/productproperty")

    def write_iso(self, uuid: Uuid, target: Path, temp: Path) -> None:
        """The file appears whole, or stays as it was."""
        maker = next((name for name in MAKERS if programs.found(name)), None)
        if maker is None:
            raise NotSupported(f"{MAKERS[0]} is not installed on this host: install Debian's xorriso")
        document = self.document(uuid)
        part = target.with_name(f"{target.name}.part")
        try:
            with tempfile.TemporaryDirectory(prefix="iso-", dir=temp) as folder:
                tree = Path(folder) / "tree"
                self._lay_out(tree, uuid, document)
                programs.run(maker, "-quiet", "-r", "-J", "-o", str(part), str(tree))
            part.rename(target)
        except OSError as error:
            raise Unavailable(f"{target} cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)

    def _lay_out(self, tree: Path, uuid: Uuid, document: str) -> None:
        files = self.places.at(f"{ENVIRONMENT_FILES}/{uuid}")
        if files.is_dir():
            shutil.copytree(files, tree, symlinks=True)
        else:
            tree.mkdir()
        (tree / DOCUMENT).write_text(document)
