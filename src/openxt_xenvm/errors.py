# SPDX-License-Identifier: GPL-2.0-or-later
"""What a task can fail with, by the names that clients match in the text `exception: NAME(args)`.

The names are the original's, sic: xenmgr turns them into its numbered errors by pattern.
What is ours alone (`Config_refused`) reads the same way.
"""

from errno import ENOMEM
from typing import ClassVar

from openxt_core.errors import BadRequest, NotSupported, OpenxtError, Refused, Unavailable
from openxt_xen.hypervisor import XenError


def on_the_wire(error: OpenxtError) -> str:
    """The text of an error reply.  One that carries no name of the table is told in brackets."""
    if isinstance(error, NotSupported):
        return f"exception: {error}"
    if isinstance(error, XenError):
        error = (NotEnoughFreeMemory if error.errno == ENOMEM else XcError)(str(error))
    if isinstance(error, Named):
        return f"exception: {error.text}"
    return f"exception: Failure({quoted(str(error))})"


def quoted(text: str) -> str:
    """Text as an argument of an exception: in double quotes, which are escaped inside."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class Named(OpenxtError):
    """Has a name on the wire; its text is `NAME` or `NAME("argument", …)`."""

    name: ClassVar[str]

    def __init__(self, *arguments: str) -> None:
        super().__init__(*arguments)
        self.arguments = arguments

    @property
    def text(self) -> str:
        return self.name + (f"({', '.join(map(quoted, self.arguments))})" if self.arguments else "")

    def __str__(self) -> str:
        return self.text


class NotEnoughFreeMemory(Named, Refused):
    name = "Not_enough_free_memory"


class VmBadState(Named, Refused):
    name = "Vm_bad_state"


class Overtaken(VmBadState):
    """By a `destroy`, which could not wait."""


class VmShutdownWrongReason(Named, Refused):
    name = "Vm_shutdown_wrong_reason"


class VmDidntShutdown(Named, Unavailable):
    name = "Vm_didnt_shutdown"


class VmIsAlreadyCreated(Named, Refused):
    name = "Vm_is_already_created"


class RequiresMoreCapabilities(Named, Refused):
    name = "RequiresMoreCapabilities"


class VmNotListening(Named, Unavailable):
    name = "Vm_not_listening_shutdown_request"


class DomainStuckDying(Named, Unavailable):
    name = "Domain_stuck_in_dying_state"


class UnknownField(Named, BadRequest):
    name = "Unknown_field"


class ArgumentNotFound(Named, BadRequest):
    name = "Argument_not_found"


class InvalidType(Named, BadRequest):
    name = "Invalid_type_registered"


class InvalidConfig(Named, BadRequest):
    name = "InvalidConfig"


class DeviceTimeout(Named, Unavailable):
    """A backend, or its script, took too long."""

    name = "Device_timeout"


class DeviceError(Named, Unavailable):
    """A backend, or the host, refuses a device."""

    name = "Device_error"


class MountFailure(DeviceError):
    """A disk image cannot be attached, whatever attaches it on this host."""

    name = "Device.Tap2.Mount_failure"


class DeviceModelFailed(Named, Unavailable):
    name = "Ioemu_failed"


class CannotUsePciWithNoPciback(Named, Refused):
    """A PCI device that dom0 uses itself, and that is not to be taken from it."""

    name = "Cannot_use_pci_with_no_pciback"


class XcError(Named, Unavailable):
    name = "Xc.Error"


class CannotSave(Named, Unavailable):
    """The file of a suspended VM cannot be written."""

    name = "Cannot_save"


class SavedVmRefused(Named, BadRequest):
    """The file of a suspended VM is not one, or not this VM's, or damaged."""

    name = "Restore_signature_mismatch"


class TaskCalledOff(Named, Unavailable):
    """It took longer than its deadline, or somebody called it off; it was undone."""

    name = "Task_cancelled"


class TaskRefused(Refused):
    """A task that answers with a plain error text instead of an exception."""
