# SPDX-License-Identifier: GPL-2.0-or-later
"""Lay out the memory of a PV or PVH guest through libxenguest: kernel, ramdisk, start info, rings.

The domain exists already, with its vcpus, limits, event channels and cpuid policy.  Backends of console and
xenstore are in dom0.  The order of calls is the one that libxl 4.17 uses; `libxc_hvm` shares most of them.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from openxt_core.ids import DOM0, Domid
from openxt_xen.hypervisor import ImageSpec, Rings
from openxt_xen.libxc_calls import Calls
from openxt_xen.libxc_records import KIB_PER_PAGE
from openxt_xen.pvh_tables import (
    FOUR_GIB,
    HOLE_START,
    TABLES_ADDRESS,
    AcpiTables,
    Region,
    acpi_tables,
    memory_layout,
    memory_map,
)


def build_pv(calls: Calls, domid: Domid, spec: ImageSpec) -> Rings:
    """Build a PV guest.  Raises XenError with the builder's own words."""
    with new_image(calls, spec) as image:
        image.container_type = calls.lib.XC_DOM_PV_CONTAINER
        load_files(calls, image, spec)
        allocate(calls, image, domid, spec)
        finish(calls, image)
        return Rings(
            store=calls.lib.openxt_p2m(image, image.xenstore_pfn),
            console=calls.lib.openxt_p2m(image, image.console_pfn),
        )


def build_pvh(calls: Calls, domid: Domid, spec: ImageSpec) -> Rings:
    """Build a PVH guest.  Raises XenError with the builder's own words."""
    acpi = acpi_tables(spec.max_vcpus) if spec.acpi else None
    with new_image(calls, spec) as image:
        image.container_type = calls.lib.XC_DOM_HVM_CONTAINER
        load_files(calls, image, spec)
        _set_layout(image, spec)
        allocate(calls, image, domid, spec)
        # `buffers` are C memory that `image` points into: they live until the image is written.
        regions = memory_map(memory_layout(spec.memory_kib), acpi)
        buffers = [set_memory_map(calls, image, domid, regions), *_set_acpi_modules(calls, image, acpi)]
        finish(calls, image)
        del buffers
        return Rings(store=image.xenstore_pfn, console=image.console_pfn)


@contextmanager
def new_image(calls: Calls, spec: ImageSpec) -> Iterator[Any]:
    """An empty struct xc_dom_image, released in the end.  The library copies both texts at once."""
    features = spec.features.encode() or calls.ffi.NULL
    image = calls.pointer("xc_dom_allocate", calls.handle, spec.cmdline.encode(), features)
    try:
        yield image
    finally:
        calls.lib.xc_dom_release(image)


def load_files(calls: Calls, image: Any, spec: ImageSpec) -> None:
    """The library maps or reads the files here and keeps no pointer to their names.

    Of an empty file it says that it is one, but sets no errno."""
    calls.number("xc_dom_kernel_file", image, spec.kernel.encode(), unknown=errno.ENOEXEC)
    if spec.ramdisk:
        name = spec.ramdisk.encode()
        calls.number("xc_dom_module_file", image, name, calls.ffi.NULL, unknown=errno.EINVAL)


def _set_layout(image: Any, spec: ImageSpec) -> None:
    layout = memory_layout(spec.memory_kib)
    image.target_pages = spec.memory_kib // KIB_PER_PAGE
    image.mmio_start = HOLE_START
    image.mmio_size = FOUR_GIB - HOLE_START
    image.lowmem_end = layout.low_end
    image.highmem_end = layout.high_end
    image.vga_hole_size = 0
    image.device_model = False


def allocate(calls: Calls, image: Any, domid: Domid, spec: ImageSpec) -> None:
    """Read the kernel's wishes and give the domain its memory."""
    image.flags = 0
    image.claim_enabled = 1  # too little free memory then fails at once, not after having taken it all
    image.max_vcpus = spec.max_vcpus
    image.console_evtchn, image.console_domid = spec.console_port, DOM0
    image.xenstore_evtchn, image.xenstore_domid = spec.store_port, DOM0
    calls.number("xc_dom_boot_xen_init", image, calls.handle, domid)
    calls.number("xc_dom_parse_image", image, unknown=errno.ENOEXEC)  # no loader knows this kernel
    calls.number("xc_dom_mem_init", image, spec.memory_kib // 1024, unknown=errno.EINVAL)
    image.total_pages = spec.memory_kib // KIB_PER_PAGE  # mem_init counts in MiB; keep what lies beyond
    calls.number("xc_dom_boot_mem_init", image, unknown=errno.EINVAL)


def set_memory_map(calls: Calls, image: Any, domid: Domid, regions: Sequence[Region]) -> Any:
    """Tell Xen, and the start info, what memory there is.  Returns C memory to keep alive."""
    entries = calls.ffi.new("struct e820entry[]", len(regions))
    for entry, region in zip(entries, regions, strict=True):
        entry.addr, entry.size, entry.type = region.address, region.size, region.kind
    calls.number("xc_domain_set_memory_map", calls.handle, domid, entries, len(regions))
    image.e820, image.e820_entries = entries, len(regions)
    return entries


def _set_acpi_modules(calls: Calls, image: Any, acpi: AcpiTables | None) -> list[Any]:
    """Hand the tables to the builder, the root pointer first: the start info points to module 0.

    Returns C memory to keep alive: the builder copies it into the guest, and never frees it."""
    if acpi is None:
        return []
    blobs = ((acpi.root_pointer, acpi.root_pointer_address), (acpi.tables, TABLES_ADDRESS))
    kept = [calls.ffi.new("uint8_t[]", data) for data, _ in blobs]
    for number, ((data, address), buffer) in enumerate(zip(blobs, kept, strict=True)):
        module = image.acpi_modules[number]
        module.data, module.length, module.guest_addr_out = buffer, len(data), address
    return kept


def finish(calls: Calls, image: Any) -> None:
    """Write kernel, ramdisk and start info, start the vcpu, and let dom0 map the two rings by grant."""
    for step in ("xc_dom_build_image", "xc_dom_boot_image", "xc_dom_gnttab_init"):
        calls.number(step, image, unknown=errno.EINVAL)
