# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of an installation: made below `/storage/_apptemp_/<id>`, put in place together, or not at all.

    /storage/_apptemp_/<id>/new/<final path>    made and not yet in place
    /storage/_apptemp_/<id>/old/<final path>    set aside: comes back when the installation fails

Every method can be repeated, also by another process after a crash: what is done already is passed over.
"""

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import Refused, Unavailable
from openxt_core.places import Places
from openxt_ovf.slices import sync


@dataclass(frozen=True)
class Staging:
    places: Places
    id: str

    @property
    def folder(self) -> Path:
        return self.places.storage / "_apptemp_" / self.id

    def new(self, path: str) -> Path:
        """Where the file with this final path (of this host) is made; its folder is there."""
        return self._made(self.folder / "new" / path.lstrip("/"))

    def _old(self, path: str) -> Path:
        return self.folder / "old" / path.lstrip("/")

    @staticmethod
    def _made(path: Path) -> Path:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{path.parent} cannot be made: {error.strerror}") from error
        return path

    def set_aside(self, paths: Iterable[str]) -> None:
        for path in paths:
            if Path(path).exists():
                _move(Path(path), self._made(self._old(path)))

    def check_free(self, paths: Iterable[str]) -> None:
        """Raises Refused when a file is in the way of one of ours."""
        for path in paths:
            if Path(path).exists():
                raise Refused(f"file {path} already exists and would be overwritten, aborting!")

    def place(self, paths: Iterable[str]) -> None:
        """They are where they belong even after a power cut, once this has returned."""
        folders = set()
        for path in paths:
            made = self.folder / "new" / path.lstrip("/")
            if made.exists():
                _move(made, self._made(Path(path)))
                folders.add(Path(path).parent)
        for folder in folders:
            sync(folder)

    @staticmethod
    def remove(paths: Iterable[str]) -> None:
        """What was put in place."""
        for path in paths:
            Path(path).unlink(missing_ok=True)

    def bring_back(self, paths: Iterable[str]) -> None:
        """What was set aside."""
        for path in paths:
            if self._old(path).exists():
                _move(self._old(path), self._made(Path(path)))

    def discard(self) -> None:
        """Remove the folder with everything in it, and the one above when it is the last."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()


def _move(source: Path, target: Path) -> None:
    """Also between file systems; then the target appears whole or not at all."""
    try:
        source.rename(target)
        return
    except OSError:
        pass  # another file system, most likely; if not, what follows tells
    part = target.with_name(f"{target.name}.part")
    try:
        shutil.copy2(source, part)
        sync(part)
        part.rename(target)
        source.unlink()
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Unavailable(f"{source} cannot be moved to {target}: {error.strerror}") from error
