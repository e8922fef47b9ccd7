# SPDX-License-Identifier: GPL-2.0-or-later
"""The tasks on D-Bus, as far as a monitor without a host can tell."""

from types import SimpleNamespace
from typing import cast

from openxt_bus import message as codec
from openxt_core.ids import Uuid
from openxt_xenvm.monitor import Monitor
from openxt_xenvm.objects import TaskTree

UUID = Uuid("6ba7b810-9dad-41d1-80b4-00c04fd430c8")


def test_no_call_of_a_task_is_answered_by_a_handler_that_is_remembered() -> None:
    """Tasks are served at any path and interface: the tree's tables know nothing of them."""
    tree = TaskTree(cast("Monitor", SimpleNamespace(vm=SimpleNamespace(uuid=UUID), jobs=None)))
    for path, interface, member in (("/", "org.freedesktop.DBus.Peer", "Ping"), ("/any", "any.one", "help")):
        call = codec.parse_message(codec.method_call(1, ("org.xen", path, interface, member), "", ()))
        assert tree.find(call) is None
