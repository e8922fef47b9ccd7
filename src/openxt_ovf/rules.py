# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the firewall rules of a package can be read; of those for rpc-proxy its own program says so."""

import sys
from pathlib import Path

from openxt_core.errors import BadRequest, RuleParseError, Unavailable
from openxt_core.v4v_rules import parse_rule
from openxt_ovf import programs
from openxt_ovf.plan import Plan, Vm

CHECKER = "rpc-proxy-rules"


def check_rules(plan: Plan, temp: Path) -> None:
    """Raises BadRequest naming the VM and what cannot be read."""
    for vm in plan.vms:
        for rule in vm.v4v_rules:
            _check_v4v_rule(vm, rule)
        if vm.rpc_rules:
            _check_rpc_rules(vm, temp / "rpc.rules")


def _check_v4v_rule(vm: Vm, rule: str) -> None:
    try:
        parse_rule(rule)
    except RuleParseError as error:
        raise BadRequest(f"{vm.system!r:.80}: {error}") from None


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
