# SPDX-License-Identifier: GPL-2.0-or-later
"""No call of the hypervisor without a promise that is tested on both keepers."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOCOLS = (
    ("src/openxt_xen/hypervisor.py", "Hypervisor", "*hypervisor*.py"),
    ("src/openxt_xen/operator.py", "Operator", "*operator*.py"),
)


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@pytest.mark.parametrize(("file", "name", "tests"), PROTOCOLS, ids=lambda word: word.rpartition("/")[2])
def test_every_call_of_a_protocol_is_made_by_its_contract_tests(file: str, name: str, tests: str) -> None:
    (protocol,) = (
        node for node in parsed(ROOT / file).body if isinstance(node, ast.ClassDef) and node.name == name
    )
    promised = {node.name for node in protocol.body if isinstance(node, ast.FunctionDef)}
    trees = map(parsed, (ROOT / "tests" / "contract").glob(tests))
    made = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert promised
    assert promised - made == set()
