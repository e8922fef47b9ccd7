# SPDX-License-Identifier: GPL-2.0-or-later
"""The hypervisors that the contract tests try, the simulated one and Xen 4.17, and domains made there."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xen.hypervisor import (
    DomainInfo,
    DomainSpec,
    Hypervisor,
    ImageSpec,
    Kind,
    Rings,
    XenError,
)
from openxt_xen.open import open_hypervisor

UUID = Uuid("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
ABSENT = Domid(31999)
UNKNOWN = -1
MEMORY_KIB = 8 * 1024
SLACK_KIB = 1024
HVM_KIB = 16 * 1024
VGA_HOLE_KIB = 128
EXTRA_KIB = {Kind.PV: 0, Kind.PVH: 40}  # what the builder adds to the guest's memory
KINDS = pytest.mark.parametrize("kind", [Kind.PV, Kind.PVH])


@contextlib.contextmanager
def simulated_host() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder) / "kernel"
        kernel.write_text("any file will do")
        environ = {
            "OPENXT_ROOT": folder,
            "OPENXT_HYPERVISOR": f"simulated:{folder}/hypercalls",
            "OPENXT_TEST_KERNEL_PV": str(kernel),
            "OPENXT_TEST_KERNEL_PVH": str(kernel),
        }
        command = [sys.executable, "-m", "openxt_sim", "--dir", folder, "--memory-mib", "1024"]
        with subprocess.Popen(command, env=os.environ | environ, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield environ
            process.terminate()


@pytest.fixture(scope="module", params=["simulated", pytest.param("libxc", marks=pytest.mark.xen)])
def environ(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "libxc":
        yield os.environ | {"OPENXT_HYPERVISOR": "libxc"}
    else:
        with simulated_host() as variables:
            yield variables


@pytest.fixture(scope="module")
def opened(environ: dict[str, str]) -> Iterator[Hypervisor]:
    keeper = open_hypervisor(environ)
    yield keeper
    keeper.close()


@pytest.fixture
def hypervisor(opened: Hypervisor) -> Iterator[Hypervisor]:
    """A test ends as it began: with the same domains.  What it left is destroyed, and is a failure."""
    before = {info.domid for info in opened.domains()}
    yield opened
    left = {info.domid for info in opened.domains()} - before
    for domid in left:
        with contextlib.suppress(XenError):
            opened.destroy_domain(domid)
    assert not left


@pytest.fixture
def create(hypervisor: Hypervisor) -> Iterator[Callable[..., Domid]]:
    """Domains that end with the test."""
    created: list[Domid] = []

    def make(kind: Kind = Kind.PVH, max_vcpus: int = 1) -> Domid:
        created.append(hypervisor.create_domain(DomainSpec(UUID, kind, max_vcpus)))
        return created[-1]

    yield make
    for domid in created:
        if hypervisor.info(domid) is not None:
            hypervisor.destroy_domain(domid)


def errno_of(call: Callable[[], object]) -> int:
    """0 when the call succeeds, UNKNOWN when it fails without saying why."""
    try:
        call()
    except XenError as error:
        return error.errno or UNKNOWN
    return 0


def look(hypervisor: Hypervisor, domid: Domid) -> DomainInfo:
    info = hypervisor.info(domid)
    assert info is not None
    return info


def image(hypervisor: Hypervisor, environ: dict[str, str], domid: Domid, kind: Kind) -> ImageSpec:
    guests = environ.get("OPENXT_GUESTS", "/guest")
    kernel = environ.get(f"OPENXT_TEST_KERNEL_{kind.upper()}", f"{guests}/tiny-{kind}")
    if not Path(kernel).exists():
        pytest.skip(f"no test kernel {kernel}")
    return ImageSpec(
        kernel=kernel,
        memory_kib=MEMORY_KIB,
        max_vcpus=1,
        store_port=hypervisor.alloc_unbound_port(domid, DOM0),
        console_port=hypervisor.alloc_unbound_port(domid, DOM0),
        cmdline="contract",
    )


def prepare(hypervisor: Hypervisor, domid: Domid, kind: Kind, max_kib: int = MEMORY_KIB + SLACK_KIB) -> None:
    """What is asked of Xen between creation and build, in the order that libxl asks."""
    hypervisor.set_max_memory(domid, max_kib)
    if kind is Kind.PV:
        hypervisor.set_memory_map_limit(domid, MEMORY_KIB)
    hypervisor.set_tsc_default(domid)
    if kind is Kind.PVH:
        hypervisor.set_paging_pool(domid, 2048)
    hypervisor.apply_cpuid_policy(domid, {})


def build(hypervisor: Hypervisor, domid: Domid, kind: Kind, spec: ImageSpec) -> Rings:
    return (hypervisor.build_pv if kind is Kind.PV else hypervisor.build_pvh)(domid, spec)
