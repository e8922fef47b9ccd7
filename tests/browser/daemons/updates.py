# SPDX-License-Identifier: GPL-2.0-or-later
"""The update manager: one address has an update.  Its download never ends."""

import sys
from pathlib import Path

import dbus

sys.path.append(str(Path(__file__).parent))
from by_idl import speak

BUS_NAME = MAIN_IFACE = "com.citrix.xenclient.updatemgr"
MAIN_OBJ = "/"
SYSTEM_BUS = True
KNOWN = "https://updates.example/openxt"


class Daemon:
    def __init__(self, mock):
        self.mock = mock

    def check_update(self, url):
        if url != KNOWN:
            text = "311:The update was not found"
            raise dbus.exceptions.DBusException(text, name="org.freedesktop.DBus.Error.Failed")
        self._set({"update-url": url, "update-applicable": "can-upgrade", "update-description": "Fixes"})
        self._state("downloaded-meta")
        return "9.0.2", "OpenXT 9.0.2", "can-upgrade"

    def check_update_latest(self, url):
        return self.check_update(url)

    def download_update(self, _url):
        self._state("downloading-files")
        self._set({"update-download-percent": dbus.Double(42.0), "update-download-speed": dbus.Double(1.5e6)})
        self.mock.EmitSignal(MAIN_IFACE, "update_download_progress", "dd", [42.0, 1.5e6])

    def download_update_latest(self, url):
        self.download_update(url)

    def cancel_update(self):
        self._state("")

    def apply_update_and_reboot(self):
        self._state("applying")

    def apply_update_and_shutdown(self):
        self._state("applying")

    def _state(self, word):
        self._set({"update-state": word})
        self.mock.EmitSignal(MAIN_IFACE, "update_state_change", "s", [word])

    def _set(self, values):
        self.mock.UpdateProperties(MAIN_IFACE, values)


def load(mock, _parameters):
    daemon = Daemon(mock)
    speak(mock, "updatemgr.xml", daemon)
    mock.AddProperties(MAIN_IFACE, {
        "update-url": "", "update-applicable": "", "update-state": "", "update-description": "",
        "update-download-percent": 0.0, "update-download-speed": 0.0, "update-fail-reason": "",
    })  # fmt: skip
