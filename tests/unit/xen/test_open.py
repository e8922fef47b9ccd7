# SPDX-License-Identifier: GPL-2.0-or-later
"""Which hypervisor the environment chooses, and how errors come over the simulated one's socket."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openxt_core.errors import BadRequest, Unavailable
from openxt_core.ids import Domid
from openxt_xen.hypervisor import XenError
from openxt_xen.open import open_hypervisor
from openxt_xen.simulated import SimulatedHypervisor


@pytest.fixture
def program(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "openxt_sim", "--dir", str(tmp_path)]
    environ = os.environ | {"OPENXT_ROOT": str(tmp_path)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.terminate()


@pytest.fixture
def simulated(program: "subprocess.Popen[bytes]", tmp_path: Path) -> Iterator[SimulatedHypervisor]:
    keeper = SimulatedHypervisor(str(tmp_path / "hypercalls"))
    yield keeper
    keeper.close()


def test_a_missing_binding_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_xenctrl_cffi", None)
    monkeypatch.delitem(sys.modules, "openxt_xen.libxc", raising=False)
    with pytest.raises(Unavailable, match="libxen-dev"):
        open_hypervisor({})


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(BadRequest, match="kvm"):
        open_hypervisor({"OPENXT_HYPERVISOR": "kvm"})


def test_an_absent_simulation_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no simulated host"):
        open_hypervisor({"OPENXT_HYPERVISOR": f"simulated:{tmp_path}/none"})


def test_opening_the_simulation_imports_no_binding(
    program: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    code = "import os, sys; from openxt_xen.open import open_hypervisor; open_hypervisor(os.environ).close();"
    code += "sys.exit('openxt_xen.libxc' in sys.modules or 'asyncio' in sys.modules)"
    environ = os.environ | {"OPENXT_HYPERVISOR": f"simulated:{tmp_path}/hypercalls"}
    assert subprocess.run([sys.executable, "-c", code], env=environ, check=False).returncode == 0


def test_an_error_keeps_its_number_and_detail(simulated: SimulatedHypervisor) -> None:
    with pytest.raises(XenError) as caught:
        simulated.destroy_domain(Domid(99))
    assert (caught.value.call, caught.value.errno) == ("destroy_domain", errno.ESRCH)
    with pytest.raises(XenError, match=r"tell: ESRCH"):
        simulated.tell(Domid(99), "sim.boot=ok")


def test_the_next_calls_fail_as_told_and_do_nothing(simulated: SimulatedHypervisor) -> None:
    simulated.fail_next("physinfo", errno.ENOMEM, 2)
    for _ in range(2):
        with pytest.raises(XenError, match=r"ENOMEM.*as the test asked"):
            simulated.physinfo()
    assert simulated.physinfo().nr_cpus == 4


def test_a_simulation_that_ends_is_unavailable_from_then_on(
    simulated: SimulatedHypervisor, program: "subprocess.Popen[bytes]"
) -> None:
    program.terminate()
    program.wait(20)
    for _ in range(2):
        with pytest.raises(Unavailable):
            simulated.version()
