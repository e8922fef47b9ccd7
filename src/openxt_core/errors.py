# SPDX-License-Identifier: GPL-2.0-or-later
"""Error classes by the decision a caller could take, and the numbers that clients know.

Only what is listed here travels over D-Bus with its text; everything else is a bug and travels
as `…Error.Failed` without details.
"""

from __future__ import annotations

# Only the type checker needs it: see openxt_core.signature.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

_DBUS = "org.freedesktop.DBus.Error."


class OpenxtError(Exception):
    """An expected error: its text is meant for the caller."""

    dbus_name: ClassVar[str] = _DBUS + "Failed"

    @property
    def text(self) -> str:
        return str(self)


class BadRequest(OpenxtError):
    """The caller's fault: no such thing, wrong type, unreadable text."""


class InvalidArgs(BadRequest):
    dbus_name = _DBUS + "InvalidArgs"


class UnknownObject(BadRequest):
    dbus_name = _DBUS + "UnknownObject"


class UnknownMethod(BadRequest):
    dbus_name = _DBUS + "UnknownMethod"


class UnknownInterface(BadRequest):
    dbus_name = _DBUS + "UnknownInterface"


class UnknownProperty(BadRequest):
    dbus_name = _DBUS + "UnknownProperty"


class PropertyReadOnly(BadRequest):
    dbus_name = _DBUS + "PropertyReadOnly"


class Refused(OpenxtError):
    """Nobody's fault: policy, wrong state, not enough memory."""


class AccessDenied(Refused):
    dbus_name = _DBUS + "AccessDenied"


class NotSupported(Refused):
    """A documented part that is not built yet, or cannot work on this host; says which."""

    dbus_name = _DBUS + "NotSupported"


class Conflict(Refused):
    """The database was changed meanwhile, and nothing was done: read again and try again."""

    dbus_name = "com.citrix.xenclient.db.Error.Conflict"


class QuotaExceeded(Refused):
    """A VM may not keep more in the database; names the quota and its limit."""

    dbus_name = _DBUS + "LimitsExceeded"


class Unavailable(OpenxtError):
    """Something below does not answer: a daemon, a guest, Xen, the disk.  May be retried."""


class RemoteError(OpenxtError):
    """Another program on the bus answered with an error; keeps its name and text."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name

    @property
    def is_absent(self) -> bool:
        """True when the program was not there, or went away before it answered."""
        return self.name in _ABSENT


_ABSENT = frozenset(
    _DBUS + name for name in ("ServiceUnknown", "NameHasNoOwner", "NoReply", "Disconnected", "NoServer")
)


class NumberedError(Refused):
    """Travels as `…Error.Failed` with the text `NNN:text`: clients read the number."""

    number: ClassVar[int]
    default: ClassVar[str] = ""

    def __init__(self, text: str = "") -> None:
        super().__init__(text or self.default)

    @property
    def text(self) -> str:
        return f"{self.number}:{self}"


def _numbered(number: int, name: str, default: str) -> type[NumberedError]:
    return type(name, (NumberedError,), {"number": number, "default": default, "__doc__": default})


# Source: OpenXT xenmgr, 2015.  A number is never reused.
NotEnoughMemory = _numbered(101, "NotEnoughMemory", "not enough free memory")
VmBadState = _numbered(102, "VmBadState", "the VM is in a state that does not allow this")
ShutdownWrongReason = _numbered(103, "ShutdownWrongReason", "the VM ended for another reason than asked")
DidntShutdown = _numbered(104, "DidntShutdown", "the VM did not shut down in time")
AlreadyCreated = _numbered(105, "AlreadyCreated", "the VM's domain exists already")
MoreCapabilities = _numbered(106, "MoreCapabilities", "the host lacks a capability the VM needs")
DiskMount = _numbered(107, "DiskMount", "a disk image could not be attached")
XenvmOther = _numbered(199, "XenvmOther", "the VM monitor failed")
SimultaneousAutostartAndHdx = _numbered(200, "SimultaneousAutostartAndHdx", "too many autostarted GPU VMs")
HibernateFailed = _numbered(201, "HibernateFailed", "hibernation failed")
CannotEditByPolicy = _numbered(202, "CannotEditByPolicy", "policy forbids changing this VM's settings")
NoSuchDevice = _numbered(203, "NoSuchDevice", "no such device")
CannotRemoveRunning = _numbered(204, "CannotRemoveRunning", "Cannot remove running VM")
TooManyVms = _numbered(205, "TooManyVms", "no free slot for another VM")
NoSuchDisk = _numbered(206, "NoSuchDisk", "the VM has no such disk")
IncorrectDiskType = _numbered(207, "IncorrectDiskType", "not possible with a disk of this type")
CannotTurnHdxWhenRunning = _numbered(209, "CannotTurnHdxWhenRunning", "the GPU of a running VM cannot change")
CannotTurnHdxWithoutPvAddons = _numbered(210, "CannotTurnHdxWithoutPvAddons", "the VM lacks PV drivers")
CannotStartHdxWithoutVtD = _numbered(211, "CannotStartHdxWithoutVtD", "the host has no directed I/O")
ActionRequiresPvAddons = _numbered(213, "ActionRequiresPvAddons", "the VM lacks PV drivers")
NotGatheringDiagnostics = _numbered(216, "NotGatheringDiagnostics", "no diagnostics collection runs")
DiskSumDoesNotMatch = _numbered(217, "DiskSumDoesNotMatch", "a disk is not what was measured")
CannotStartHdxRunning = _numbered(218, "CannotStartHdxRunning", "another GPU VM is running")
CannotStartAmtPtRunning = _numbered(219, "CannotStartAmtPtRunning", "another AMT VM is running")
ActionSuppressedByPolicy = _numbered(220, "ActionSuppressedByPolicy", "policy forbids this")
NoSuchNic = _numbered(222, "NoSuchNic", "the VM has no such network card")
IoError = _numbered(223, "IoError", "IO error")
ResumeFromSleep = _numbered(224, "ResumeFromSleep", "the VM did not wake up")
SleepTimeout = _numbered(227, "SleepTimeout", "the VM did not go to sleep in time")
HibernateTimeout = _numbered(228, "HibernateTimeout", "the VM did not hibernate in time")
ShutdownTimeout = _numbered(229, "ShutdownTimeout", "the VM did not shut down in time")
DeviceAlreadyPassedThrough = _numbered(230, "DeviceAlreadyPassedThrough", "a running VM has the device")
GraphicsNotSecondary = _numbered(231, "GraphicsNotSecondary", "this GPU cannot be a secondary adapter")
NetworkDomainNotRunning = _numbered(232, "NetworkDomainNotRunning", "a network backend is not running")
OemFeaturesRunning = _numbered(233, "OemFeaturesRunning", "another VM with OEM features is running")
UnknownGpu = _numbered(234, "UnknownGpu", "no such GPU")
UnsupportedLanguage = _numbered(236, "UnsupportedLanguage", "unsupported language")
RuleParseError = _numbered(237, "RuleParseError", "the rule cannot be read")
CryptoKeyAlreadyExists = _numbered(238, "CryptoKeyAlreadyExists", "the key file exists already")
VhdKeyAlreadySet = _numbered(239, "VhdKeyAlreadySet", "the disk has a key already")
NetworkDaemonTimeout = _numbered(240, "NetworkDaemonTimeout", "the network daemon did not answer in time")
