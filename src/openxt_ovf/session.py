# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of apptool: from the request to what is printed.  The steps of an import, in their order.

Nothing is asked of the daemons before the package was read, checked and planned.
"""

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from openxt_bus.blocking import BlockingBus
from openxt_core.errors import BadRequest, Refused, Unavailable
from openxt_core.places import Places
from openxt_ovf import disk_map
from openxt_ovf.demands import demands
from openxt_ovf.disk_map import Line
from openxt_ovf.environment_iso import Environments
from openxt_ovf.host import Host
from openxt_ovf.images import Maker
from openxt_ovf.install import Installer
from openxt_ovf.model import Envelope
from openxt_ovf.options import Action, Request, usage
from openxt_ovf.package import Package, open_package
from openxt_ovf.plan import Plan
from openxt_ovf.progress import Progress
from openxt_ovf.read import read_envelope
from openxt_ovf.references import References, check_manifest
from openxt_ovf.removal import Remover
from openxt_ovf.rules import check_rules
from openxt_ovf.signatures import check_signature
from openxt_ovf.staging import Staging
from openxt_ovf.to_template import Choices, plan_of

TEMP = "/storage/apptool"
LEFTOVERS = ("import-*", "iso-*")


@dataclass(frozen=True)
class Prepared:
    """A package that was found good, and what it shall become."""

    plan: Plan
    references: References


@dataclass(frozen=True)
class Session:
    """`connect` is called when the daemons are first needed; `ask` puts a question and gives the answer."""

    request: Request
    places: Places
    progress: Progress
    connect: Callable[[], BlockingBus]
    ask: Callable[[str], str]

    def output(self) -> str:
        """Do what is asked for, and give what to print.  Raises OpenxtError."""
        actions = {
            Action.LIST: self._list,
            Action.CLEANUP: self._clean_up,
            Action.REMOVE: self._remove,
            Action.GENENVDOC: self._environment,
            Action.GENENVISO: self._environment_iso,
            Action.VERIFY: self._verify,
            Action.IMPORT: self._import,
        }
        action = self.request.action
        if action is None or action is Action.HELP:
            self.progress.tell(usage().rstrip())
            return ""
        return actions[action]()

    @property
    def _temp(self) -> Path:
        return Path(self.request.temp) if self.request.temp else self.places.at(TEMP)

    def _host(self) -> Host:
        return Host(self.connect())

    def _remover(self) -> Remover:
        return Remover(self._host(), self.places, self.progress)

    # Questions

    def _list(self) -> str:
        found = self._remover().appliances().values()
        return "".join(f"{one.id}\n" for one in found if not one.is_temporary)

    def _environment(self) -> str:
        return Environments(self._host(), self.places).document(self.request.uuid)

    def _environment_iso(self) -> str:
        with self._made_temp():
            target = Path(self.request.iso)
            Environments(self._host(), self.places).write_iso(self.request.uuid, target, self._temp)
        return ""

    # Changes

    def _clean_up(self) -> str:
        with self._alone():
            self._remover().clean_up()
            for pattern in LEFTOVERS:
                for path in self._temp.glob(pattern):
                    shutil.rmtree(path, ignore_errors=True)
        return ""

    def _remove(self) -> str:
        with self._alone():
            self._remover().remove(self.request.subject)
        return ""

    def _verify(self) -> str:
        with self._made_temp(), self._import_folder() as folder:
            prepared = self._prepared(folder)
            self._maker(prepared, folder).check_all(prepared.plan.images)
        self.progress.tell("OK")
        return ""

    def _import(self) -> str:
        with self._alone(), self._made_temp(), self._import_folder() as folder:
            prepared = self._prepared(folder)
            self._accept_licences(prepared.plan)
            maker = self._maker(prepared, folder)
            staging = Staging(self.places, prepared.plan.id)
            one = Installer(
                self._host(),
                self.places,
                self.progress,
                prepared.plan,
                maker,
                staging,
                self.request.permitted,
            )
            if self.request.only_images:
                self._import_images(one)
            else:
                one.check()
                maker.check_all(prepared.plan.images)
                one.install()
        self.progress.tell("OK")
        return ""

    def _import_images(self, one: Installer) -> None:
        """Nothing is left without the map file: it alone says what the images are."""
        target = Path(self.request.map_file)
        part = target.with_name(f"{target.name}.part")
        lines = one.make_images()
        try:
            part.write_text(disk_map.write(lines))
            part.rename(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            for line in lines:
                for path in filter(None, (line.path, line.key_path)):
                    self.places.at(path).unlink(missing_ok=True)
            raise Unavailable(f"{target} cannot be written: {error.strerror}") from error

    # The package

    def _prepared(self, folder: Path) -> Prepared:
        """Read, checked and planned.  Raises BadRequest for a bad package."""
        package = open_package(Path(self.request.subject), folder)
        envelope = read_envelope(package.descriptor())
        references = References(package, folder, self._host_path)
        self._check_files(package, references, envelope)
        choices = Choices(_new_uuid, self.request.id, self.request.version, self.request.networks)
        plan = plan_of(envelope, choices)
        for warning in plan.warnings:
            self.progress.tell(f"warning: {warning}")
        check_rules(plan, folder)
        self._check_trust(plan, envelope)
        if self.request.with_images:
            plan = disk_map.with_images(plan, self._map_lines())
        return Prepared(plan, references)

    def _host_path(self, path: str) -> Path:
        return self.places.at(path)

    def _check_files(self, package: Package, references: References, envelope: Envelope) -> None:
        missing = references.missing(envelope.files)
        if missing:
            raise BadRequest("\n".join(f"missing file: {href}" for href in missing))
        if self.request.skips_manifest:
            return
        manifest = check_manifest(package, references, envelope.files)
        if manifest is not None:
            signer = check_signature(package, manifest, references.temp)
            self.progress.tell(signer or "the manifest is right; the package is not signed")

    def _check_trust(self, plan: Plan, envelope: Envelope) -> None:
        wanted = demands(plan, envelope)
        if wanted and not self.request.is_trusted:
            lines = "\n".join(f"  {one}" for one in wanted)
            raise Refused(f"the package wants more than VMs; import it with --trusted if it may:\n{lines}")
        for one in wanted:
            self.progress.tell(f"allowed, as it is trusted: {one}")

    def _map_lines(self) -> list[Line]:
        try:
            lines = disk_map.read(Path(self.request.map_file).read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise BadRequest(f"the map file {self.request.map_file} cannot be read: {error}") from None
        for line in lines:
            if not self.places.at(line.path).is_file():
                raise BadRequest(f"the disk image map names {line.path}, which does not exist")
        return lines

    def _accept_licences(self, plan: Plan) -> None:
        for text in plan.licences:
            self.progress.tell(text)
            if self.ask("Do you accept this licence? (y/n) ").strip() != "y":
                raise Refused("license not accepted")

    def _maker(self, prepared: Prepared, folder: Path) -> Maker:
        staging = Staging(self.places, prepared.plan.id)
        return Maker(
            prepared.references, folder, lambda path: staging.new(str(self.places.at(path))), self.progress
        )

    # Folders and locks

    @contextlib.contextmanager
    def _made_temp(self) -> Iterator[None]:
        try:
            self._temp.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{self._temp} cannot be made: {error.strerror}") from error
        yield

    @contextlib.contextmanager
    def _import_folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(
            prefix="import-", dir=self._temp, ignore_cleanup_errors=True
        ) as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One change of appliances at a time.  Raises Refused while another apptool makes one."""
        path = self.places.run / "apptool.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused("another apptool is at work; try again when it has finished") from None
            yield


def _new_uuid() -> str:
    return str(uuid4())
