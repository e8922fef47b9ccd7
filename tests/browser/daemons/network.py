# SPDX-License-Identifier: GPL-2.0-or-later
"""dom0's network daemon: wired and wireless networks, and two that no VM can be on."""

import sys
from pathlib import Path

import dbus

sys.path.append(str(Path(__file__).parent))
from by_idl import speak

BUS_NAME = MAIN_IFACE = "com.citrix.xenclient.networkdaemon"
MAIN_OBJ = "/"
SYSTEM_BUS = True
NETWORK = "com.citrix.xenclient.network"
DOM0 = "00000000-0000-0000-0000-000000000000"
#   path               type       mode       label               bridge   served by
NETWORKS = (
    ("/wired/0/shared", "wired", "shared", "Wired, shared", "br1", DOM0),
    ("/wired/0/bridged", "wired", "bridged", "Office network", "br0", DOM0),
    ("/wifi/0/shared", "wifi", "shared", "", "br2", DOM0),
    ("/wired/1/bridged", "wired", "bridged", "Not served", "br3", ""),
    ("/unknown/0", "unknown", "unknown", "Unknown", "", DOM0),
)
CONNECTED = 70


class Daemon:
    def list(self):
        rows = [
            {"object": path, "type": kind, "mode": mode, "label": label, "mac": "00:16:3e:00:00:01",
             "driver": "e1000", "backend_vm": backend, "nm_state": str(CONNECTED)}
            for path, kind, mode, label, _, backend in NETWORKS
        ]  # fmt: skip
        return dbus.Array([dbus.Dictionary(row, signature="ss") for row in rows], signature="a{ss}")

    def list_backends(self):
        return dbus.Array([], signature="s")

    def is_initialized(self):
        return True

    def is_networking_active(self):
        return True

    def get_network_backend(self, _network):
        return DOM0

    def create_network(self, kind, number, _config):
        return f"/{kind}/{number}/bridged"


def load(mock, _parameters):
    speak(mock, "network_daemon.xml", Daemon())
    for path, kind, mode, label, bridge, backend in NETWORKS:
        mock.AddObject(path, f"{NETWORK}.config", {
            "name": path, "bridge": bridge, "backend-uuid": backend, "active": True, "interface": "eth0",
            "mac-address": "00:16:3e:00:00:01", "driver": "e1000", "type": kind, "connection": mode,
            "nm-state": dbus.UInt32(CONNECTED), "extra-info": dbus.Dictionary({}, signature="ss"),
            "label": label, "nat-prefix": "", "nm-managed": True,
        }, [])  # fmt: skip
