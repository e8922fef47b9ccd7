# SPDX-License-Identifier: GPL-2.0-or-later
"""An old database becomes one of today's version, whatever happens on the way."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_work import opened, plain
from sim_disk import DataOnly, Dice, NothingKept, Random, SimDisk

from effort import effort
from openxt_core.errors import OpenxtError, Refused
from openxt_core.places import Places
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.placement import MAIN, Unit
from openxt_dbd.upgrade import __main__ as program
from openxt_dbd.upgrade.run import LATEST, upgrade

WINDOWS = {
    "type": "svm",
    "os": "windows",
    "config": {
        "sound": "all",
        "nic": {"0": {"bridge": "brbridged"}, "1": {"bridge": "brwireless"}, "2": {"bridge": "mine"}},
        "disk": {"0": {"disktype": "system", "path": "/x", "sha1sum": "1"}, "1": {"path": "/y"}},
    },
}
OTHERS = {
    "linux": {"type": "pvm", "rpc-agent": "true", "v4v-firewall-rules": {"0": "myself -> 0:1"}},
    "net": {"type": "ndvm", "config": {"nic": "a leaf", "cmdline": "old"}},
    "odd": "a leaf",
}
MAIN_FILE = {"db-version": "9", "crypto-username": "joe", "touchpad": {"speed": "5"}}


def fill(disk: Disk, main: Any = MAIN_FILE) -> None:
    files = Files(disk)
    for unit, content in [(MAIN, main), *((Unit("vm", name), vm) for name, vm in OTHERS.items())]:
        files.save(unit, json.dumps(content).encode())
    files.save(Unit("vm", "win"), json.dumps(WINDOWS).encode())
    disk.sync_folder("vms")
    disk.sync_folder("")


def tree(disk: Disk) -> Any:
    return plain(opened(disk).root)  # type: ignore[arg-type]  # a real disk will do


@pytest.fixture
def upgraded(tmp_path: Path) -> Any:
    fill(Disk(tmp_path))
    upgrade(Disk(tmp_path))
    return tree(Disk(tmp_path))


def test_the_version_is_the_latest_and_what_nobody_reads_is_gone(upgraded: Any) -> None:
    assert upgraded["db-version"] == str(LATEST)
    assert "crypto-username" not in upgraded
    assert upgraded["touchpad"] == {"speed": "5"}


def test_nics_name_networks_and_disks_their_managed_type(upgraded: Any) -> None:
    config = upgraded["vm"]["win"]["config"]
    assert config["nic"] == {
        "0": {"network": "/wired/0/bridged"},
        "1": {"network": "/wifi/0/shared", "wireless-driver": "true"},
        "2": {"network": "mine"},
    }
    assert config["disk"]["0"] == {"path": "/x", "sha1sum": "1", "managed-disktype": "system"}
    assert config["disk"]["1"] == {"path": "/y"}


def test_user_vms_get_label_and_rules_unless_they_have_rules(upgraded: Any) -> None:
    vms = upgraded["vm"]
    assert vms["win"]["v4v-firewall-rules"]["7"] == "my-stubdom -> 0:5559"
    assert vms["linux"]["v4v-firewall-rules"] == {"0": "myself -> 0:1"}
    assert {name for name, vm in vms.items() if "config" in vm and "flask-label" in vm["config"]} == {
        "win",
        "linux",
    }


def test_each_kind_of_vm_gets_what_is_meant_for_it(upgraded: Any) -> None:
    vms = upgraded["vm"]
    assert vms["win"]["config"]["sound"] == "ac97"
    assert (vms["linux"]["os"], "rpc-agent" in vms["linux"]) == ("linux", False)
    assert vms["net"]["config"] == {"nic": "a leaf", "cmdline": "root=/dev/xvda1 iommu=soft xencons=hvc0"}
    assert vms["odd"] == "a leaf"


def test_host_settings_of_today(upgraded: Any) -> None:
    assert upgraded["display-driver-whitelist"].startswith("vga,openxt,")
    assert upgraded["usb-rules"]["9900"]["device"] == {"keyboard": "1"}
    assert [rule["command"] for rule in upgraded["usb-rules"].values()] == ["deny", "allow"]


def test_the_old_database_is_kept(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    fill(disk)
    before = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    upgrade(disk)
    copy = tmp_path / "backups" / "9"
    assert {str(p.relative_to(copy)): p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("version", [str(LATEST), "28"])
def test_a_database_of_today_or_later_is_left_alone(tmp_path: Path, version: str) -> None:
    disk = Disk(tmp_path)
    fill(disk, {**MAIN_FILE, "db-version": version})
    upgrade(disk)
    assert (tmp_path / "db").read_text() == json.dumps({**MAIN_FILE, "db-version": version})
    assert not (tmp_path / "backups").exists()


def test_only_the_steps_after_its_version_are_taken(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    fill(disk, {**MAIN_FILE, "db-version": "14"})
    upgrade(disk)
    assert tree(disk)["vm"]["win"]["config"]["nic"]["0"] == {"bridge": "brbridged"}


@pytest.mark.parametrize("version", ["", "nine", "-1", "٣"])
def test_a_version_that_is_no_number_is_refused(tmp_path: Path, version: str) -> None:
    fill(Disk(tmp_path), {"db-version": version})
    with pytest.raises(Refused, match="db-version"):
        upgrade(Disk(tmp_path))
    assert not (tmp_path / "backups").exists()


def test_ssh_keys_move(tmp_path: Path) -> None:
    fill(Disk(tmp_path))
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "key").write_text("k")
    upgrade(Disk(tmp_path))
    assert (tmp_path / "etc" / "ssh" / "key").read_text() == "k"
    assert not (tmp_path / "ssh").exists()


# Interruptions


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def whole() -> SimDisk:
    disk = SimDisk()
    fill(disk)
    return disk


def calls_needed() -> int:
    disk = whole()
    before = disk.count
    upgrade(disk)
    return disk.count - before


@pytest.mark.proof
@pytest.mark.usefixtures("quiet")
def test_an_upgrade_that_ends_at_any_system_call_is_finished_by_the_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = whole()
    original = {f"backups/9/{name}": inode.content() for name, inode in done.names.items()}
    upgrade(done)
    expected = tree(done)
    points = 0
    for left in _left_behind(effort(17, 1)):
        points += 1
        upgrade(left)
        assert tree(left) == expected
        kept = {name: inode.content() for name, inode in left.names.items()}
        assert original.items() <= kept.items()
    with capsys.disabled():
        print(f"\n  an upgrade ended in {points} ways, and was finished each time")


def _left_behind(every: int) -> Iterator[SimDisk]:
    disk, left = whole(), []

    def touch(number: int, _call: str, _file: str) -> None:
        if number % every == 0:
            dice: list[Dice] = [Dice(), NothingKept(), DataOnly(), Random(number)]
            left.extend([disk.after_kill(), *(disk.after_power_cut(one) for one in dice)])

    disk.touch = touch
    upgrade(disk)
    yield from left


@pytest.mark.proof
@pytest.mark.usefixtures("quiet")
def test_an_upgrade_that_meets_an_error_is_finished_by_the_next() -> None:
    expected = tree(_upgraded(whole()))
    for point in range(1, calls_needed() + 1, effort(11, 1)):
        disk = whole()
        disk.touch = _fails_at(disk.count + point)
        try:
            upgrade(disk)
        except (OSError, OpenxtError):
            pass
        kept = [inode.content() for inode in disk.names.values()]
        if any(".bad-" in name for name in disk.names):  # could not be read: for a person to look at
            assert all(inode.content() in kept for inode in whole().names.values())
            continue
        assert tree(_upgraded(disk.after_kill())) == expected, f"failed at call {point}"


def _upgraded(disk: SimDisk) -> SimDisk:
    upgrade(disk)
    return disk


def _fails_at(point: int) -> Callable[[int, str, str], None]:
    def touch(number: int, _call: str, file: str) -> None:
        if number == point:
            raise OSError(28, "No space left on device", file)

    return touch


# The program


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENXT_ROOT", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["upgrade-db"])  # pytest's own are not its
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "xenclient.conf").write_text("release=1\nbuild=2015\n")
    (tmp_path / "storage" / "uivm").mkdir(parents=True)
    (tmp_path / "storage" / "uivm" / "uivm-suspend-image").write_text("image")
    fill(Disk(tmp_path / "config"))
    return tmp_path


def test_the_program_upgrades_and_follows_the_build(root: Path) -> None:
    assert program.main() == 0
    assert tree(Disk(root / "config"))["db-version"] == str(LATEST)
    image = root / "storage" / "uivm" / "uivm-suspend-image"
    assert not image.exists()
    image.write_text("of this build")
    program.follow_build(Places(root), Disk(root / "config"))
    assert image.exists()


def test_checksums_are_forgotten_on_request(root: Path) -> None:
    (root / "config" / "rehash-vms").write_text("")
    assert program.main() == 0
    assert "sha1sum" not in tree(Disk(root / "config"))["vm"]["win"]["config"]["disk"]["0"]
    assert not (root / "config" / "rehash-vms").exists()


def test_beside_a_running_dbd_it_does_nothing(root: Path) -> None:
    Disk(root / "config").lock()
    before = (root / "config" / "db").read_bytes()
    assert program.main() == 1
    assert (root / "config" / "db").read_bytes() == before


def test_a_host_that_is_none_is_an_error(root: Path) -> None:
    (root / "etc" / "xenclient.conf").unlink()
    assert program.main() == 1


def test_an_upgrade_that_cannot_be_done_does_not_keep_dbd_from_starting(root: Path) -> None:
    (root / "config" / "db").write_text('{"db-version": "x"}')
    assert program.main() == 0
