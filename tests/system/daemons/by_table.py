# SPDX-License-Identifier: GPL-2.0-or-later
"""A template of python-dbusmock: its name comes from the environment, its methods and objects as parameters.

Runs in the system's Python, which has dbus-python; so it knows nothing of our packages.
"""

import os
import time

import dbus

BUS_NAME = MAIN_IFACE = os.environ["MOCKED"]
MAIN_OBJ = "/"
SYSTEM_BUS = True


def load(mock, parameters):
    mock.dbus, mock.time = dbus, time
    for row in parameters["methods"]:
        mock.AddMethod(*map(str, row))
    for path, interface, values in parameters["objects"]:
        mock.AddObject(path, interface, dbus.Dictionary(dict(values), signature="sv"), [])
