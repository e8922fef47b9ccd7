# SPDX-License-Identifier: GPL-2.0-or-later
"""Which methods of xenmgr's interface files are not built: the list here may only get shorter.

It looks at who implements a method, not at what the method does: that is the business of the system tests.
"""

from typing import Any

import pytest

from openxt_xenmgr.objects import entries, host, root, vm

NOT_BUILT = {"com.citrix.xenclient.xenmgr.vm.product.get_ovf_env_xml"}
FACES: tuple[Any, ...] = (*root.FACES, *host.FACES, *vm.FACES, entries.DiskObject, entries.NicObject)
METHODS = [(face, name) for face in FACES for name in face.SPEC.method]


def _is_built(face: Any, name: str) -> bool:
    """True when the face, or a class of ours above it, replaces what the interface file gave."""
    owner = next(kind for kind in face.__mro__ if name in vars(kind))
    return not owner.__module__.startswith("openxt_api")


@pytest.mark.parametrize(("face", "name"), METHODS, ids=lambda one: getattr(one, "__name__", one))
def test_a_method_is_built_unless_it_is_listed(face: Any, name: str) -> None:
    assert _is_built(face, name) or f"{face.SPEC.name}.{name}" in NOT_BUILT


def test_only_methods_are_listed() -> None:
    assert {f"{face.SPEC.name}.{name}" for face, name in METHODS} >= NOT_BUILT
