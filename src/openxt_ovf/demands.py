# SPDX-License-Identifier: GPL-2.0-or-later
"""What a package wants of dom0 itself: to run programs, read files, give away devices.  Pure.

Whoever wrote the package could have dom0 do anything by these; the person who imports it has to say that it
is trusted.  What concerns the VM alone (sizes, policies, networks) is not asked about.
"""

from collections.abc import Iterator

from openxt_ovf.hrefs import place_of
from openxt_ovf.model import Envelope
from openxt_ovf.plan import ISOS, Plan, Vm

PROGRAMS = (
    "run-post-create", "run-pre-delete", "run-pre-boot", "run-insteadof-start", "run-on-state-change",
    "run-on-acpi-state-change", "qemu-dm-path",
)  # fmt: skip
FILES = (
    "kernel",
    "initrd",
    "extra-xenvm",
    "extra-hvm",
    "icbinn-path",
    "phys-path",
    "phys-type",
    "backend-uuid",
)
DB_PLACES = (*(f"config/{name}" for name in (*PROGRAMS, *FILES)), *PROGRAMS, *FILES, "config/disk", "disk")


def demands(plan: Plan, envelope: Envelope) -> list[str]:
    """One sentence each; empty for a package that keeps to its VMs."""
    return [*_files(envelope), *(text for vm in plan.vms for text in _of_vm(vm))]


def _files(envelope: Envelope) -> Iterator[str]:
    for file in envelope.files:
        path = place_of(file.href).host_path
        if path and not path.startswith(f"{ISOS}/"):
            yield f"reads the file {path} of this host"


def _of_vm(vm: Vm) -> Iterator[str]:
    settings = [*vm.settings]
    for part in (*(nic.settings for nic in vm.nics), *(drive.settings for drive in vm.drives)):
        settings += part
    for one in settings:
        if one.value.value and one.name in PROGRAMS:
            yield f"{vm.name}: has dom0 run a program: {one.name} = {str(one.value.value)[:120]!r}"
        if one.value.value and one.name in FILES:
            yield f"{vm.name}: uses a file of dom0: {one.name} = {str(one.value.value)[:120]!r}"
    for entry in vm.db_entries:
        if entry.section == "vm" and any(
            entry.key == at or entry.key.startswith(f"{at}/") for at in DB_PLACES
        ):
            yield f"{vm.name}: writes into its configuration: {entry.key} = {entry.value[:120]!r}"
    for rule in vm.rpc_rules:
        yield f"{vm.name}: may call services of dom0: {rule[:160]}"
    for match in vm.pci:
        words = match.bdf or f"class {match.class_ or 'any'} {match.vendor or 'any'}:{match.device or 'any'}"
        yield f"{vm.name}: gets PCI devices: {words[:120]}"
