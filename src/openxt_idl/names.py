# SPDX-License-Identifier: GPL-2.0-or-later
"""What a D-Bus or IDL name becomes in generated Python.  Pure."""

import re

from openxt_core.spec import Arg, attribute

OWN_PREFIX = "com.citrix.xenclient."
RESERVED_ARGS = frozenset({"self", "reply"})  # used by the generated methods themselves


def constant(interface: str) -> str:
    """`com.citrix.xenclient.xenmgr.vm` → `XENMGR_VM`; foreign names keep all their parts."""
    return interface.removeprefix(OWN_PREFIX).replace(".", "_").upper()


def class_name(interface: str) -> str:
    """`com.citrix.xenclient.rpc_proxy` → `RpcProxy`, `org.freedesktop.DBus` → `OrgFreedesktopDBus`."""
    words = re.split(r"[._]+", interface.removeprefix(OWN_PREFIX))
    return "".join(word[:1].upper() + word[1:] for word in words)


def camelised(name: str) -> str:
    """`xenmgr_vm` → `XenmgrVm`."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def enum_class(enum: str) -> str:
    """`S3_MODE` → `S3Mode`."""
    return "".join(word.capitalize() for word in enum.split("_"))


def property_suffix(name: str) -> str:
    """`start-on-boot` → `start_on_boot`."""
    return re.sub(r"[-.]", "_", name)


def arg_names(args: tuple[Arg, ...]) -> list[str]:
    """Python parameter names, all different: unnamed ones count, keywords get a trailing `_`."""
    names: list[str] = []
    for place, arg in enumerate(args):
        name = attribute(property_suffix(arg.name)) if arg.name else f"arg{place}"
        while name in RESERVED_ARGS or name in names:
            name += "_"
        names.append(name)
    return names
