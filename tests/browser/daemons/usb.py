# SPDX-License-Identifier: GPL-2.0-or-later
"""The USB daemon: three devices, one of which policy keeps from every VM."""

import sys
from pathlib import Path

import dbus

sys.path.append(str(Path(__file__).parent))
from by_idl import speak

BUS_NAME = MAIN_IFACE = "com.citrix.xenclient.usbdaemon"
MAIN_OBJ = "/"
SYSTEM_BUS = True
#  what a device is, as the asking VM sees it.  Source: OpenXT's USB daemon, DEV_STATE_*.
UNUSED, ELSEWHERE, BLOCKED, HERE, ALWAYS_HERE = 0, 1, 3, 4, 5


class Daemon:
    def __init__(self, mock):
        self.mock = mock
        self.names = {1: "Kingston DataTraveler", 2: "Logitech headset", 3: "Fingerprint reader"}
        self.assigned = {}
        self.sticky = set()

    def list_devices(self):
        return dbus.Array(sorted(self.names), signature="i")

    def get_device_info(self, device, vm):
        if device not in self.names:
            raise dbus.exceptions.DBusException("no such device", name="org.freedesktop.DBus.Error.Failed")
        owner = self.assigned.get(device, "")
        return self.names[device], dbus.Int32(self._state(device, owner, vm)), owner, "0951:1666"

    def _state(self, device, owner, vm):
        if device == 3:
            return BLOCKED
        if not owner:
            return UNUSED
        if owner != vm:
            return ELSEWHERE
        return ALWAYS_HERE if device in self.sticky else HERE

    def assign_device(self, device, vm):
        self.assigned[int(device)] = str(vm)
        self._changed(device)

    def unassign_device(self, device):
        self.assigned.pop(int(device), None)
        self._changed(device)

    def set_sticky(self, device, sticky):
        (self.sticky.add if sticky else self.sticky.discard)(int(device))
        self._changed(device)

    def name_device(self, device, name):
        self.names[int(device)] = str(name)
        self._changed(device)

    def _changed(self, device):
        self.mock.EmitSignal(MAIN_IFACE, "device_info_changed", "i", [dbus.Int32(device)])

    def state(self):
        return repr(self.assigned)

    def get_policy_domuuid(self, _vm):
        return ""


def load(mock, _parameters):
    speak(mock, "ctxusb_daemon.xml", Daemon(mock))
