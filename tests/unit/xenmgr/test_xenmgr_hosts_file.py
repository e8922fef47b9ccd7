# SPDX-License-Identifier: GPL-2.0-or-later
"""dom0's /etc/hosts: the lines of service VMs, and all else as it was."""

from pathlib import Path

from openxt_core.ids import Domid
from openxt_xenmgr.host.hosts_file import update, with_vm

OLD = "# mine\n127.0.0.1 localhost\n10.0.0.1 printer lp  # by the door\n"


def test_a_running_vm_has_a_line_and_all_else_stays() -> None:
    assert with_vm(OLD, "net vm", Domid(7)) == f"{OLD}1.0.0.7 net-vm\n"


def test_a_new_run_replaces_the_line_and_the_end_removes_it() -> None:
    running = with_vm(with_vm(OLD, "ndvm", Domid(7)), "ndvm", Domid(9))
    assert running == f"{OLD}1.0.0.9 ndvm\n"
    assert with_vm(running, "ndvm", None) == OLD


def test_a_name_cannot_bring_lines_of_its_own() -> None:
    assert with_vm("", "a\n6.6.6.6 bank", Domid(7)).splitlines() == [
        "127.0.0.1 localhost",
        "1.0.0.7 a-6.6.6.6-bank",
    ]


def test_localhost_stays_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text(OLD)
    update(file, "localhost", Domid(7))
    assert file.read_text() == OLD
    update(file, "ndvm", Domid(7))
    assert [path.name for path in tmp_path.iterdir()] == ["hosts"]
