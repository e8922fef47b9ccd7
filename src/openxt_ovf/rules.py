# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the firewall rules of a package can be read: rpc-proxy's own program says so of its rules."""

import sys
from pathlib import Path

from openxt_core.errors import BadRequest, Unavailable
from openxt_ovf import programs
from openxt_ovf.plan import Plan, Vm

CHECKER = "rpc-proxy-rules"


def check_rules(plan: Plan, temp: Path) -> None:
    """Raises BadRequest naming the VM and what cannot be read."""
    for vm in plan.vms:
        if vm.rpc_rules:
            _check_rpc_rules(vm, temp / "rpc.rules")


def _check_rpc_rules(vm: Vm, file: Path) -> None:
    for rule in vm.rpc_rules:
        if "\n" in rule:
            raise BadRequest(f"{vm.system!r:.80}: RpcRule {rule[:80]!r} has a line break")
    file.write_text("\n".join(vm.rpc_rules))
    beside_us = Path(sys.argv[0]).with_name(CHECKER)
    try:
        programs.run(str(beside_us) if beside_us.exists() else CHECKER, "check", str(file))
    except Unavailable as error:
        raise BadRequest(f"{vm.system!r:.80}: an RpcRule cannot be read: {error}") from None
