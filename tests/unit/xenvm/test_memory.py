# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory arithmetic, against the original's own figures."""

import pytest

from openxt_core.ids import Uuid
from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.domain import memory
from openxt_xenvm.domain.memory import Size


@pytest.mark.parametrize(
    ("size", "shadow", "overhead", "footprint"),
    [
        (Size(Kind.HVM, 1024, 1024, 1), 9, 11, 1035),
        (Size(Kind.HVM, 4096, 4096, 4), 36, 38, 4134),
        (Size(Kind.PV, 64, 64, 1), 2, 3, 67),
        (Size(Kind.PVH, 1024, 1024, 1), 9, 11, 1035),
    ],
)
def test_what_a_domain_takes_of_the_host(size: Size, shadow: int, overhead: int, footprint: int) -> None:
    assert memory.shadow_mib(size) == shadow
    assert memory.overhead_mib(size) == overhead
    assert memory.footprint_mib(size) == footprint


def test_required_to_boot_is_the_footprint_in_kib() -> None:
    config = DomainConfig(memory_kib=65536)
    assert memory.required_to_boot_kib(config) == 67 * 1024


def test_a_stub_domain_is_required_too() -> None:
    stubdom = Uuid("00000000-0000-0000-0000-000000000009")
    config = DomainConfig(hvm=True, memory_kib=1024 * 1024, stubdom=stubdom)
    assert memory.required_to_boot_kib(config) == (1035 + 67) * 1024


def test_a_config_without_memory_has_no_size() -> None:
    with pytest.raises(ValueError, match="memory"):
        memory.required_to_boot_kib(DomainConfig())


def test_the_paging_pool_is_what_libxl_gives() -> None:
    assert memory.paging_pool_kib(Size(Kind.PVH, 112, 112, 1)) == 4 * (256 + 224)


def test_video_memory_is_part_of_the_guests_memory() -> None:
    size = Size(Kind.HVM, 512, 256, 1, video_mib=16)
    assert (memory.build_max_mib(size), memory.build_start_mib(size)) == (496, 240)
    assert memory.xen_max_mib(size) == 513


def test_the_limit_leaves_room_for_the_toolstack() -> None:
    assert memory.max_memory_kib(Size(Kind.PV, 64, 64, 1)) == 64 * 1024 + 1024


@pytest.mark.parametrize(("kib", "aligned"), [(0, 0), (3, 0), (4, 4), (65539, 65536)])
def test_targets_are_whole_pages(kib: int, aligned: int) -> None:
    assert memory.page_aligned_kib(kib) == aligned
