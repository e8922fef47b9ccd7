# SPDX-License-Identifier: GPL-2.0-or-later
"""Names in generated Python: what clients and servers import by heart must not drift."""

import pytest

from openxt_core.spec import Arg, attribute
from openxt_idl.names import arg_names, class_name, constant, enum_class, property_suffix


@pytest.mark.parametrize(
    ("interface", "expected"),
    [
        ("com.citrix.xenclient.xenmgr.vm", ("XENMGR_VM", "XenmgrVm")),
        ("com.citrix.xenclient.rpc_proxy", ("RPC_PROXY", "RpcProxy")),
        ("org.freedesktop.DBus", ("ORG_FREEDESKTOP_DBUS", "OrgFreedesktopDBus")),
        ("xenvm.signal.notify", ("XENVM_SIGNAL_NOTIFY", "XenvmSignalNotify")),
        ("org.xen.vm", ("ORG_XEN_VM", "OrgXenVm")),
    ],
)
def test_an_interface_names_its_constant_and_classes(interface: str, expected: tuple[str, str]) -> None:
    assert (constant(interface), class_name(interface)) == expected


def test_an_enumeration_names_its_class() -> None:
    assert [enum_class(name) for name in ("S3_MODE", "NDVM_STATUS", "CONFIG")] == [
        "S3Mode",
        "NdvmStatus",
        "Config",
    ]


def test_dashes_and_dots_of_a_property_become_underscores() -> None:
    assert property_suffix("start-on.boot") == "start_on_boot"


def test_a_keyword_gets_an_underscore_and_nothing_else_does() -> None:
    assert [attribute(name) for name in ("delete", "import", "class", "switch")] == [
        "delete",
        "import_",
        "class_",
        "switch",
    ]


def test_parameter_names_never_hide_one_another() -> None:
    names = ["", "in", "self", "reply", "a-b", "a_b", ""]
    assert arg_names(tuple(Arg(name, "s") for name in names)) == [
        "arg0",
        "in_",
        "self_",
        "reply_",
        "a_b",
        "a_b_",
        "arg6",
    ]
