# SPDX-License-Identifier: GPL-2.0-or-later
"""Collect what guests tell of themselves, and make a status report of the host.

Guests send files by `gather` while a collection runs; names and sizes are theirs to choose, so both are
bounded, and no file is written twice.
"""

import asyncio
import os
import re
import uuid as uuids
from pathlib import Path
from xml.etree import ElementTree

from openxt_api.xenmgr import XenmgrDiagSignals
from openxt_core.errors import BadRequest, IoError, NotGatheringDiagnostics, Refused
from openxt_core.places import Places
from openxt_xen.xenstore import paths
from openxt_xenmgr.host import programs
from openxt_xenmgr.vm.focus import graphics_fallback
from openxt_xenmgr.vm.tree import parse_int
from openxt_xenmgr.world import World

FOLDER_NODE = "/xenmgr/diag-dir"
COUNT_NODE = "/xenmgr/diag-count"
TIMEOUT_KEY = "/xenmgr/xc-diag-timeout"
DEFAULT_TIMEOUT_S = 180
MAX_FILES = 1000
MAX_BYTES = 256 << 20  # of a whole collection
REPORT = "/tmp/user-report.xml"  # where status-tool looks for it
REPORT_TIMEOUT_S = 600.0
STATUS_TOOL = "OpenXT's status-tool"
_NAME = re.compile(r"[^/\0.][^/\0]{0,199}\Z")


class Diagnostics:
    """One collection at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._folder: Path | None = None
        self._count = 0
        self._bytes = 0
        self._more = asyncio.Event()

    async def save(self, mode: str) -> str:
        """Ask the guests, and wait for as many files as there are guests that can answer.

        Returns the folder, whoever answered.  Raises Refused while another collection runs.
        """
        if self._folder is not None:
            raise Refused(f"diagnostics are being collected already, in {self._folder}")
        folder = self._world.places.at(f"/tmp/sr-xcdiag-{uuids.uuid4()}")
        self._folder, self._count, self._bytes = folder, 0, 0
        try:
            _make_folder(folder)
            guests, able = await self._guests()
            if guests:
                await self._collect(mode, able)
        finally:
            self._folder = None
            await self._world.nodes.xs.rm(FOLDER_NODE)
            await self._world.nodes.xs.rm(COUNT_NODE)
        return str(folder)

    async def _guests(self) -> tuple[int, int]:
        """How many user VMs run, and how many of them have what answers."""
        running = [vm for vm in self._world.registry if vm.domid is not None]
        configs = [await self._world.store.config_or_none_set(vm) for vm in running]
        users = [config for config in configs if config.is_user_vm]
        return len(users), sum(1 for config in users if config["pv-addons"])

    async def _collect(self, mode: str, able: int) -> None:
        await self._world.nodes.xs.write(FOLDER_NODE, str(self._folder))
        await self._world.nodes.xs.write(COUNT_NODE, "0")
        XenmgrDiagSignals(self._world.bus, "/").gather_request(mode)
        stored = parse_int(await self._world.db.read(TIMEOUT_KEY) or "")
        try:
            async with asyncio.timeout(DEFAULT_TIMEOUT_S if stored is None else stored):
                while self._count < able:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            return

    async def gather(self, name: str, data: str) -> None:
        """A guest's file, as hexadecimal digits.  Raises NotGatheringDiagnostics (216)."""
        folder = self._folder
        if folder is None:
            raise NotGatheringDiagnostics
        if not _NAME.match(name):
            raise BadRequest(f"name cannot be {name[:60]!r}: a bare file name is expected")
        if self._count >= MAX_FILES or self._bytes + len(data) // 2 > MAX_BYTES:
            raise Refused("this collection of diagnostics is full")
        content = _bytes_of(data)
        self._bytes += len(content)
        self._count += 1
        _write_new(folder / name, content)
        await self._world.nodes.xs.write(COUNT_NODE, str(self._count))
        self._more.set()

    async def show_screen(self, show: bool) -> None:
        """Tell the VM that stands in for missing graphics to show, or hide, the report's page."""
        vm = await graphics_fallback(self._world)
        if vm is None or vm.domid is None:
            raise Refused("no running VM provides the graphics to show a report with")
        await self._world.nodes.xs.write(f"{paths.domain(vm.domid)}/report/state", "01"[show])


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise IoError(f"IO error: {folder}: {error.strerror}") from error


def _bytes_of(digits: str) -> bytes:
    try:
        if any(one.isspace() for one in digits):
            raise ValueError(digits)
        return bytes.fromhex(digits)
    except ValueError:
        raise BadRequest("data cannot be read: pairs of hexadecimal digits are expected") from None


def _write_new(path: Path, content: bytes) -> None:
    """Never over another file or through a link."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadRequest(f"{path.name[:60]!r} has been gathered already") from None
    except OSError as error:
        raise IoError(f"IO error: {path}: {error.strerror}") from error
    with open(file, "wb") as opened:
        opened.write(content)


# The status report


def report_text(summary: str, description: str, steps: str, ticket: str) -> bytes:
    """What the user tells, as XML."""
    top = ElementTree.Element("user-report")
    ElementTree.SubElement(top, "report-version").text = "\n1.0\n"
    ElementTree.SubElement(top, "summary").text = f"\n{summary}\n"
    ElementTree.SubElement(top, "description").text = f"\n{description}\n"
    repro = ElementTree.SubElement(top, "repro-steps")
    ElementTree.SubElement(repro, "step", index="1").text = f"\n{steps}\n"
    ElementTree.SubElement(top, "support-ticket").text = f"\n{ticket}\n"
    text: bytes = ElementTree.tostring(top, encoding="utf-8")
    return text


async def status_report(places: Places, text: bytes, *, screenshots: bool, guest_info: bool) -> str:
    """Path of the archive that status-tool makes."""
    tool = programs.needed("status-tool", STATUS_TOOL)
    path = places.at(REPORT)
    path.unlink(missing_ok=True)
    _write_new(path, text)
    options = (
        "--screenshots" if screenshots else "--no-screenshots",
        "--vm-diagnostics" if guest_info else "--no-vm-diagnostics",
        "--quiet",
        "--print-tarball",
    )
    try:
        return (await programs.run(tool, *options, timeout_s=REPORT_TIMEOUT_S)).rstrip("\n")
    finally:
        path.unlink(missing_ok=True)
