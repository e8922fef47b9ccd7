# SPDX-License-Identifier: GPL-2.0-or-later
"""Daemons that are not ours, for python-dbusmock: methods and types come from `idl/`, answers from an object.

Runs in the system's Python, which has dbus-python; so it knows nothing of our packages.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

IDL = Path(__file__).parents[3] / "idl"


def speak(mock, file, daemon):
    """Offer each method of the file's interfaces; `daemon` answers those that it has a method for."""
    mock.daemon = daemon
    for interface in ElementTree.parse(IDL / file).getroot().iter("interface"):
        for method in interface.iter("method"):
            name = method.get("name")
            code = f"ret = self.daemon.{name}(*args)" if hasattr(daemon, name) else ""
            kinds = [_types(method, way) for way in ("in", "out")]
            mock.AddMethod(interface.get("name"), name, *kinds, code)


def _types(method, way):
    return "".join(arg.get("type") for arg in method.iter("arg") if arg.get("direction", "in") == way)
