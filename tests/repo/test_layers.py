# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may import whom: the imports of every file, compared with the table of docs/architecture.md."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

_LIBRARIES = {"core"}
_DAEMON = {"core", "api", "bus", "xen"}

# Package → packages of ours that it may import, besides itself.
MAY_IMPORT = {
    "core": set(),
    "idl": _LIBRARIES,
    "api": _LIBRARIES,
    "bus": _LIBRARIES,
    "xen": _LIBRARIES,
    "sim": {"core", "xen"},
    "dbd": _DAEMON,
    "xenmgr": _DAEMON,
    "xenvm": _DAEMON,
    "rpcproxy": _DAEMON,
    "xec": _DAEMON,
    "ovf": {"core", "api", "bus"},
    "uid": {"core", "bus", "xen"},
    "house": {"core"},
}

# The simulated host shares only the wire codec, the paths and the hypervisor's types with its clients.
SIM_MAY_USE = {"openxt_xen.xenstore.wire", "openxt_xen.xenstore.paths", "openxt_xen.hypervisor"}

# Library → the only modules that may import it.
ONLY_IN = {
    "dbus_fast": {"openxt_bus.connection", "openxt_bus.message"},
    "_xenctrl_cffi": {"openxt_xen.libxc"},
    "_xenvchan_cffi": {"openxt_xen.vchan.ring"},
    "_openxt_quick": {"openxt_bus.quick", "openxt_dbd.quick"},
    "orjson": {
        "openxt_dbd",
        "openxt_rpcproxy.json_express",
        "openxt_rpcproxy.json_form",
        "openxt_sim",
        "openxt_xen",
        "openxt_xenmgr",
        "openxt_xenvm",
    },
    "websockets": {"openxt_rpcproxy.websocket"},
    "defusedxml": {"openxt_ovf.xml_tree"},
    "h11": {"openxt_uid.server"},
    "jsonschema": {"openxt_dbd.db_check"},
}

# Pure modules touch no file, socket, clock or log.
IMPURE = {"asyncio", "os", "socket", "logging", "subprocess", "threading", "select", "time"}
PURE_PACKAGES = ("openxt_core",)
PURE_MODULES = (
    "openxt_dbd.tree",
    "openxt_dbd.path",
    "openxt_dbd.placement",
    "openxt_sim.store",
    "openxt_sim.machine",
    "openxt_xen.xenstore.wire",
    "openxt_xen.xenstore.paths",
    "openxt_xenmgr.vm.boot_order",
    "openxt_xenmgr.vm.model",
    "openxt_xenmgr.vm.policy",
    "openxt_xenmgr.vm.xenvm_config",
    "openxt_xenvm.config",
    "openxt_xenvm.state",
    "openxt_xenvm.domain.memory",
    "openxt_ovf.demands",
    "openxt_ovf.disk_map",
    "openxt_ovf.disk_order",
    "openxt_ovf.hardware",
    "openxt_ovf.hrefs",
    "openxt_ovf.image_format",
    "openxt_ovf.inventory",
    "openxt_ovf.manifest",
    "openxt_ovf.model",
    "openxt_ovf.options",
    "openxt_ovf.overrides",
    "openxt_ovf.plan",
    "openxt_ovf.read",
    "openxt_ovf.read_hardware",
    "openxt_ovf.read_xci",
    "openxt_ovf.to_drives",
    "openxt_ovf.to_template",
    "openxt_ovf.units",
    "openxt_ovf.vhd",
    "openxt_ovf.xml_tree",
    "openxt_rpcproxy.rules.model",
    "openxt_rpcproxy.rules.grammar",
    "openxt_rpcproxy.rules.decide",
    "openxt_rpcproxy.rules.cover",
    "openxt_rpcproxy.rules.explain",
    "openxt_rpcproxy.rules.learn",
    "openxt_rpcproxy.rules.lint",
    "openxt_rpcproxy.rules.record",
    "openxt_rpcproxy.rules.replay",
    "openxt_rpcproxy.facts",
    "openxt_bus.framing",
    "openxt_bus.codec",
    "openxt_rpcproxy.auth",
    "openxt_rpcproxy.calls",
    "openxt_rpcproxy.introspection",
    "openxt_rpcproxy.json_form",
    "openxt_rpcproxy.json_values",
    "openxt_rpcproxy.rewriting",
    "openxt_rpcproxy.websocket",
)


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SRC.glob("openxt_*/**/*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(_modules())


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            # `from package import module` imports the module
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield deeper if deeper in MODULES else node.module


def _package(module: str) -> str:
    return module.split(".")[0].removeprefix("openxt_")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_the_packages_of_its_layer(module: str) -> None:
    package = _package(module)
    for name in _imports(MODULES[module]):
        if name.startswith("openxt_") and _package(name) != package:
            assert _package(name) in MAY_IMPORT[package], f"{module} imports {name}"
            if package == "sim" and _package(name) == "xen":
                assert name in SIM_MAY_USE, f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_a_library_stays_behind_its_door(module: str) -> None:
    for name in _imports(MODULES[module]):
        doors = ONLY_IN.get(name.split(".")[0])
        if doors is not None:
            assert module in doors or module.split(".")[0] in doors, f"{module} imports {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if m in PURE_MODULES or m.startswith(PURE_PACKAGES)])
def test_a_pure_module_does_no_io(module: str) -> None:
    roots = {name.split(".")[0] for name in _imports(MODULES[module])}
    assert not roots & IMPURE, f"{module} imports {sorted(roots & IMPURE)}"


@pytest.mark.parametrize("module", PURE_MODULES)
def test_the_table_of_pure_modules_names_real_modules(module: str) -> None:
    assert module in MODULES


@pytest.mark.parametrize("module", MODULES)
def test_only_declared_libraries_are_imported(module: str) -> None:
    allowed = {*ONLY_IN, "pyudev", "cffi", "msgspec", "websockets", *sys.stdlib_module_names}
    for name in _imports(MODULES[module]):
        assert name.startswith("openxt_") or name.split(".")[0] in allowed, f"{module} imports {name}"
