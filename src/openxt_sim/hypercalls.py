# SPDX-License-Identifier: GPL-2.0-or-later
"""The second socket's language: JSON arguments → calls of the host → JSON results.  No I/O.

Request `{"call": name, "args": {…}}`; answer `{"result": …}` or `{"errno": n, "detail": text}`.  The names
are those of `Hypervisor`, and of what only a test asks: fail_next, crash, reboot, tell.
"""

import errno
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from openxt_core.ids import Domid, Uuid
from openxt_sim.host import Host
from openxt_xen.hypervisor import (
    DomainSpec,
    HvmImageSpec,
    HvmParam,
    ImageSpec,
    Kind,
    ShutdownReason,
    XenError,
)

Args = Mapping[str, Any]
"""As decoded from JSON: checked by the handler that takes it."""


def _domid(args: Args) -> Domid:
    return Domid(int(args["domid"]))


def _info(host: Host, args: Args) -> object:
    domain = host.machine.domains.get(_domid(args))
    return asdict(domain.info()) if domain else None


def _create_domain(host: Host, args: Args) -> object:
    spec = dict(args["spec"])
    return host.create_domain(DomainSpec(**spec | {"uuid": Uuid(spec["uuid"]), "kind": Kind(spec["kind"])}))


def _cpuid(host: Host, args: Args) -> object:
    overrides = {(leaf, subleaf): masks for leaf, subleaf, masks in args["overrides"]}
    host.machine.apply_cpuid_policy(_domid(args), overrides)
    return None


def _build_hvm(host: Host, args: Args) -> object:
    image = dict(args["image"])
    tables = {name: bytes.fromhex(image[name]) for name in ("acpi_table", "smbios")}
    return asdict(host.build_hvm(_domid(args), HvmImageSpec(**image | tables)))


def _allow(kind: str) -> Callable[[Host, Args], object]:
    def call(host: Host, args: Args) -> object:
        first, count = int(args["first"]), int(args.get("count", 1))
        host.machine.allow(_domid(args), kind, first, count, allow=bool(args["allow"]))
        return None

    return call


CALLS: dict[str, Callable[[Host, Args], object]] = {
    "version": lambda host, _: asdict(host.machine.version()),
    "physinfo": lambda host, _: asdict(host.machine.physinfo()),
    "domains": lambda host, _: [asdict(domain.info()) for domain in host.machine.domains.values()],
    "info": _info,
    "create_domain": _create_domain,
    "destroy_domain": lambda host, args: host.destroy_domain(_domid(args)),
    "pause": lambda host, args: host.pause(_domid(args)),
    "unpause": lambda host, args: host.unpause(_domid(args)),
    "shutdown": lambda host, args: host.shutdown(_domid(args), ShutdownReason(args["reason"])),
    "resume": lambda host, args: host.resume(_domid(args), fast=bool(args["fast"])),
    "set_max_memory": lambda host, args: host.machine.set_max_memory(_domid(args), int(args["kib"])),
    "set_memory_map_limit": lambda host, args: host.machine.set_memory_map_limit(
        _domid(args), int(args["kib"])
    ),
    "set_paging_pool": lambda host, args: host.machine.set_paging_pool(_domid(args), int(args["kib"])),
    "alloc_unbound_port": lambda host, args: host.machine.alloc_unbound_port(
        _domid(args), Domid(int(args["remote"]))
    ),
    "set_hvm_param": lambda host, args: host.machine.set_hvm_param(
        _domid(args), HvmParam(args["param"]), int(args["value"])
    ),
    "get_hvm_param": lambda host, args: host.machine.get_hvm_param(_domid(args), HvmParam(args["param"])),
    "apply_cpuid_policy": _cpuid,
    "set_affinity": lambda host, args: host.machine.set_affinity(
        _domid(args), int(args["vcpu"]), [int(pcpu) for pcpu in args["pcpus"]]
    ),
    "label_number": lambda host, args: host.machine.label_number(str(args["label"])),
    "set_tsc_default": lambda host, args: host.machine.set_tsc_default(_domid(args)),
    "build_pv": lambda host, args: asdict(host.build(_domid(args), ImageSpec(**args["image"]), pv=True)),
    "build_pvh": lambda host, args: asdict(host.build(_domid(args), ImageSpec(**args["image"]), pv=False)),
    "save": lambda host, args: host.save(_domid(args), live=bool(args["live"])),
    "restore": lambda host, args: asdict(
        host.restore(_domid(args), args["saved"], int(args["store_port"]), int(args["console_port"]))
    ),
    "build_hvm": _build_hvm,
    "send_trigger": lambda host, args: host.send_trigger(
        _domid(args), int(args["trigger"]), int(args["vcpu"])
    ),
    "power_button": lambda host, args: asdict(host.machine.power_button(_domid(args))),
    "assign_device": lambda host, args: host.machine.assign_device(_domid(args), int(args["device"])),
    "deassign_device": lambda host, args: host.machine.deassign_device(_domid(args), int(args["device"])),
    "allow_ports": _allow("ports"),
    "allow_frames": _allow("frames"),
    "allow_interrupt": lambda host, args: _allow("interrupts")(host, {**args, "first": args["pirq"]}),
    "map_interrupt": lambda host, args: host.machine.map_interrupt(_domid(args), int(args["irq"])),
    "unmap_interrupt": lambda host, args: host.machine.unmap_interrupt(_domid(args), int(args["pirq"])),
    "allowed": lambda host, args: sorted(
        (kind, first, last - first + 1)
        for kind, held in host.machine.domain("allowed", _domid(args)).allowed.items()
        for first, last in held
    ),
    "read_console_ring": lambda host, _: "".join(line + "\n" for line in host.machine.log),
    # What only an operator asks
    "details": lambda host, _: host.machine.operating.details(),
    "cpu_facts": lambda host, _: host.machine.operating.cpu_facts(),
    "idle_times": lambda host, _: host.machine.operating.idle_times(),
    "scheduling": lambda host, args: host.machine.operating.scheduling(_domid(args)),
    "set_scheduling": lambda host, args: host.machine.operating.set_scheduling(
        _domid(args), int(args["weight"]), int(args["cap"])
    ),
    "affinity": lambda host, args: host.machine.operating.affinity(_domid(args), int(args["vcpu"])),
    "set_target": lambda host, args: host.machine.operating.set_target(
        _domid(args), Domid(int(args["target"]))
    ),
    "send_debug_keys": lambda host, args: host.machine.operating.send_debug_keys(str(args["keys"])),
    "watchdog": lambda host, args: host.machine.operating.watchdog(int(args["slot"]), int(args["timeout_s"])),
    "enforcing": lambda host, _: host.machine.operating.enforcing(),
    "set_enforcing": lambda host, _: host.machine.operating.enforcing(),
    # What only a test asks
    "fail_next": lambda host, args: host.fail_next(str(args["call"]), int(args["errno"]), int(args["times"])),
    "crash": lambda host, args: host.crash(_domid(args)),
    "reboot": lambda host, args: host.reboot(_domid(args)),
    "tell": lambda host, args: host.tell(_domid(args), str(args["words"])),
}


def _detail(error: XenError) -> str:
    """What an error says beyond its call and its number."""
    return str(error).removeprefix(str(XenError(error.call, error.errno))).strip(": ()")


def answer(host: Host, request: Any) -> dict[str, object]:
    """Do one call.  A request that is none gets EINVAL."""
    try:
        call, args = str(request["call"]), request.get("args") or {}
        host.check_failure(call)
        if call not in CALLS:
            raise XenError(call, errno.ENOSYS)
        return {"result": CALLS[call](host, args)}
    except XenError as error:
        return {"errno": error.errno, "detail": _detail(error)}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return {"errno": errno.EINVAL, "detail": f"{type(error).__name__}: {error}"}
