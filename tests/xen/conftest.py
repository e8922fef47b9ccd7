# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests on real Xen share.  They run in the emulated dom0: `make xen`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openxt_core.ids import DOM0
from openxt_xen.hypervisor import XenError
from openxt_xen.libxc import LibXc


@pytest.fixture(scope="session")
def libxc() -> Iterator[LibXc]:
    """The real hypervisor."""
    if not Path("/proc/xen/privcmd").exists():
        pytest.fail("these tests need a dom0: run them with `make xen`")
    hypervisor = LibXc()
    yield hypervisor
    hypervisor.close()


@pytest.fixture(autouse=True)
def no_domain_is_left(libxc: LibXc) -> Iterator[None]:
    """A test ends as it began: dom0 is alone.  What is left is destroyed, so that the next test can run."""
    yield
    left = [info.domid for info in libxc.domains() if info.domid != DOM0]
    for domid in left:
        try:
            libxc.destroy_domain(domid)
        except XenError:
            continue  # already on its way out
    assert not left, f"domains left: {left}"
