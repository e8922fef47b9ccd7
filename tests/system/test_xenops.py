# SPDX-License-Identifier: GPL-2.0-or-later
"""xenops on a simulated host: domains made, filled, changed, saved and ended by hand, word by word."""

import asyncio
import contextlib
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from openxt_xen.xenstore.client import XenStore
from openxt_xenvm.xenops.main import run

MEMORY_KIB = 16 * 1024
PCI_DEVICE = "0000:00:1f.0"
DISK = ("-domid", "1", "-mode", "r", "-phystype", "phy", "-physpath", "/d")
TWO_PCI_DEVICES = "0000:00:1e.6", "0000:00:1e.7"


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@dataclass
class Host:
    folder: Path

    def xenops(self, *words: object) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run(["xenops", *map(str, words)])
        return Done(status, out.getvalue(), err.getvalue())

    def does(self, *words: object) -> str:
        done = self.xenops(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    def refuses(self, *words: object) -> str:
        done = self.xenops(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.strip()

    @property
    def kernel(self) -> Path:
        path = self.folder / "kernel"
        path.write_text("any file will do")
        return path

    def built(self, cmdline: str = "", **options: object) -> str:
        """The domid of a PV domain with a kernel, paused."""
        domid = self.does(
            "create_domain", *(word for key, value in options.items() for word in (f"-{key}", value))
        )
        vcpus = options.get("vcpus", 1)
        kernel = ("-kernel", self.kernel, "-cmdline", cmdline)
        self.does("build", "-domid", domid, "-vcpus", vcpus, "-memory", MEMORY_KIB, *kernel)
        return domid

    def driver(self) -> str:
        """The domid of a domain that serves others."""
        domid = self.built(cmdline="sim.serves=yes")
        self.does("unpause", "-domid", domid)
        return domid

    def pci(self, address: str) -> Path:
        """A PCI device of the host: its folder, as in sysfs."""
        folder = self.folder / "var/run/xenvm/dom0/pci" / address
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("driver", "e1000"), ("resource", "0x1000 0x10ff 0x40101\n"), ("irq", "0")):
            (folder / name).write_text(text)
        return folder

    def nodes(self, path: str = "/") -> dict[str, str | None]:
        """All of XenStore below a path."""
        return asyncio.run(self._nodes(path))

    async def _nodes(self, path: str) -> dict[str, str | None]:
        store = await XenStore.connect()
        found, left = dict[str, str | None](), [path]
        while left:
            folder = left.pop()
            found[folder] = await store.read(folder)
            left += [f"{folder.rstrip('/')}/{name}" for name in await store.list(folder)]
        store.close()
        return found

    def domains(self) -> dict[str, str]:
        """Domid → letters of its state."""
        rows = [line.split("|") for line in self.does("list").splitlines()[1:]]
        return {row[0].strip(): row[1].strip() for row in rows}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        environ = {
            "OPENXT_ROOT": name,
            "OPENXT_HYPERVISOR": f"simulated:{name}/hypercalls",
            "XENSTORED_PATH": f"{name}/xenstored",
        }
        for variable, value in environ.items():
            patch.setenv(variable, value)
        command = [sys.executable, "-m", "openxt_sim", "--dir", name]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield Host(Path(name))
            process.terminate()


@pytest.fixture(autouse=True)
def only_dom0_is_left(host: Host) -> Iterator[None]:
    yield
    for domid in host.domains().keys() - {"0"}:
        host.does("destroy", "-domid", domid)


def test_a_domain_is_made_filled_run_and_ended(host: Host) -> None:
    domid = host.built()
    assert host.domains()[domid] == "P"
    assert host.does("unpause", "-domid", domid)
    assert "R" in host.domains()[domid]
    host.does("shutdown_domain", "-domid", domid, "-poweroff", "-sync")
    assert "S" in host.domains()[domid]
    host.does("destroy_domain", "-domid", domid)
    assert set(host.domains()) == {"0"}


def test_firmware_goes_into_an_hvm_domain_only(host: Host) -> None:
    pv, hvm = host.does("create_domain"), host.does("create_domain", "-hvm")
    words = ("-vcpus", 1, "-memory", MEMORY_KIB * 4, "-acpi", "-apic")
    assert host.refuses("build_hvm", "-domid", pv, *words) == f"error: domain {pv} is not HVM"
    host.does("hvmbuild", "-domid", hvm, *words)
    assert host.domains()[hvm] == "P  H"


def test_firmware_finds_the_switches_and_the_hosts_tables(host: Host) -> None:
    tables = host.folder / "var/run/xenvm/dom0/tables"
    tables.mkdir(parents=True)
    (tables / "SLIC").write_bytes(bytes(40))
    (tables / "DMI").write_bytes(b"\x80\4\0\0\0\0" + b"\x81\4\0\0\0\0" + b"\x7f\4\0\0\0\0")
    words = ("-vcpus", 1, "-memory", MEMORY_KIB * 4, "-acpi")
    plain, passed = host.does("create_domain", "-hvm"), host.does("create_domain", "-hvm")
    host.does("build_hvm", "-domid", plain, *words)
    host.does("build_hvm", "-domid", passed, *words, "-acpi_pt", "-smbios_pt", "-smbios_oem_types_pt", 129)
    one, other = (host.nodes(f"/local/domain/{domid}") for domid in (plain, passed))
    home = f"/local/domain/{passed}"
    assert other[f"{home}/platform/acpi"] == "1"
    assert other[f"{home}/platform/smbios-oem-types-pt"] == "129"
    assert other[f"{home}/hvmloader/acpi/length"] == hex(40)
    assert other[f"{home}/hvmloader/smbios/length"] == hex(4 + 6)
    assert f"/local/domain/{plain}/hvmloader/acpi/length" not in one


def test_a_list_has_right_aligned_columns(host: Host) -> None:
    domid = host.does("init")
    header, dom0, one = host.does("list_domains").splitlines()
    assert [word.strip() for word in header.split(" | ")] == ["id", "state", "cpu_time", "uuid"]
    assert len(header) == len(dom0) == len(one)
    assert one.startswith(domid.rjust(2) + " | ")
    assert one.endswith(host.does("dom-uuid", "-domid", domid))
    assert host.does("list", "-v").splitlines()[0].count(" | ") == 10


def test_a_domain_goes_into_a_file_and_comes_back_in_another_one(host: Host) -> None:
    domid, file = host.built(), host.folder / "saved"
    host.does("unpause", "-domid", domid)
    host.does("save_domain", "-domid", domid, "-file", file)
    assert domid not in host.domains()
    assert file.stat().st_mode & 0o777 == 0o600
    again = host.does("create_domain")
    host.does("restore", "-domid", again, "-file", file, "-vcpus", 1, "-memory", MEMORY_KIB)
    assert host.domains()[again] == "P"
    host.does("unpause", "-domid", again)


@pytest.mark.parametrize("command", ["save_domain", "chkpoint_domain"])
def test_a_domain_that_nothing_restores_is_not_saved(host: Host, command: str) -> None:
    domid, file = host.does("create_domain", "-hvm"), host.folder / "hvm"
    host.does("build_hvm", "-domid", domid, "-vcpus", 1, "-memory", MEMORY_KIB * 4)
    host.does("unpause", "-domid", domid)
    says = f"error: domain {domid} is HVM: only PV domains can be restored"
    assert host.refuses(command, "-domid", domid, "-file", file) == says
    assert not file.exists()
    assert "R" in host.domains()[domid]


def test_a_checkpoint_leaves_the_domain_running(host: Host) -> None:
    domid, file = host.built(), host.folder / "checkpoint"
    host.does("unpause", "-domid", domid)
    host.does("chkpoint_domain", "-domid", domid, "-file", file)
    assert "R" in host.domains()[domid]
    assert file.exists()
    assert "File exists" in host.refuses("chkpoint", "-domid", domid, "-file", file)


def test_a_save_that_fails_leaves_no_file_and_the_domain_running(host: Host) -> None:
    domid, file = host.built(), host.folder / "unsaved"
    host.does("unpause", "-domid", domid)
    host.does("hard_shutdown_domain", "-domid", domid, "-poweroff")
    host.refuses("save_domain", "-domid", domid, "-file", file)
    assert not file.exists()


def test_shares_and_places_are_kept(host: Host) -> None:
    domid = host.does("create_domain", "-vcpus", 2)
    host.does("sched_domain", "-domid", domid, "-weight", 300, "-cap", 40)
    assert host.does("sched_get", "-domid", domid) == "300 40"
    host.does("affinity_set", "-domid", domid, "-vcpu", 1, "-bitmap", "0110")
    assert host.does("affinity_get", "-domid", domid, "-vcpu", 1) == "0110"
    assert host.does("affinity_get", "-domid", domid, "-vcpu", 0) == "1111"


def test_a_disk_and_a_card_come_and_go(host: Host) -> None:
    domid = host.built()
    host.does("unpause", "-domid", domid)
    image = host.folder / "disk"
    image.write_bytes(bytes(4096))
    disk = ("-mode", "w", "-phystype", "file", "-physpath", image, "-virtpath", "xvda")
    host.does("add_vbd", "-domid", domid, *disk)
    assert re.search(
        r"vbd\[51712\] is \w+ to dom\(0\) ty\(vbd\) devid\(51712 ", host.does("list_devices", "-domid", domid)
    )
    assert "already" in host.refuses("disk-add", "-domid", domid, *disk)
    host.does("del_vbd", "-domid", domid, "-virtpath", "xvda")
    assert "vbd" not in host.does("list_devices", "-domid", domid)
    assert "has no vbd" in host.refuses("del_vbd", "-domid", domid, "-virtpath", "xvda")


def test_another_domains_card_is_known_by_its_backend_and_goes_with_it(host: Host) -> None:
    server = host.driver()
    before, domid = host.nodes(), host.built()
    host.does("unpause", "-domid", domid)
    card = ("add_vif", "-domid", domid, "-devid", 0, "-netty", "/wired/0", "-mac")
    host.does(*card, "00:16:3e:00:00:01", "-backend-domid", server)
    mac = f"/local/domain/{domid}/device/vif/0/mac"
    for backend in (server, "0"):
        assert "already" in host.refuses(*card, "00:16:3e:00:00:02", "-backend-domid", backend)
    assert host.nodes(mac) == {mac: "00:16:3e:00:00:01"}
    removal = ("del_vif", "-domid", domid, "-devid", 0)
    assert "has no vif 0 of domain 0" in host.refuses(*removal)
    host.does(*removal, "-backend-domid", server)
    assert host.nodes(mac) == {mac: None}
    host.does(*card, "00:16:3e:00:00:03", "-backend-domid", server)
    host.does("destroy", "-domid", domid)
    assert host.nodes().keys() == before.keys()


def test_a_domain_that_is_not_there_cannot_serve(host: Host) -> None:
    domid = host.built()
    card = ("-devid", 0, "-mac", "00:16:3e:00:00:01", "-backend-domid", 99)
    assert "there is no domain 99 to serve it" in host.refuses("add_vif", "-domid", domid, *card)


def test_one_of_two_pci_devices_goes(host: Host) -> None:
    domid = host.built()
    stays, goes = (host.pci(address) for address in TWO_PCI_DEVICES)
    host.does("unpause", "-domid", domid)
    host.does("add_pci", "-domid", domid, "-pci", ",".join(TWO_PCI_DEVICES))
    host.does("del_pci", "-domid", domid, "-pci", TWO_PCI_DEVICES[1])
    assert f"is without {TWO_PCI_DEVICES[1]}" in host.refuses(
        "del_pci", "-domid", domid, "-pci", TWO_PCI_DEVICES[1]
    )
    assert "is connected to dom(0)" in host.does("list_devices", "-domid", domid)
    assert ((stays / "resets").read_text(), (goes / "resets").read_text()) == ("x", "xx")


def test_a_pci_device_comes_and_goes(host: Host) -> None:
    domid, device = host.built(), host.pci(PCI_DEVICE)
    host.does("unpause", "-domid", domid)
    host.does("bind_pci", "-pci", PCI_DEVICE)
    assert (device / "driver").read_text() == "pciback"
    host.does("add_pci", "-domid", domid, "-pci", PCI_DEVICE)
    assert "pci[0] is " in host.does("list_devices", "-domid", domid)
    host.does("del_pci", "-domid", domid, "-pci", PCI_DEVICE)
    assert "pci[0]" not in host.does("list_devices", "-domid", domid)
    assert "no such device" in host.refuses("add_pci", "-domid", domid, "-pci", "0000:00:1e.0")


def test_pci_devices_of_a_domain_that_ends_are_reset(host: Host) -> None:
    domid, device = host.built(), host.pci(PCI_DEVICE)
    host.does("bind_pci", "-pci", PCI_DEVICE)
    host.does("add_pci", "-domid", domid, "-pci", PCI_DEVICE)
    before = (device / "resets").read_text()
    host.does("destroy", "-domid", domid)
    assert (device / "resets").read_text() == before + "x"
    assert (device / "driver").read_text() == "pciback"


def test_the_host_has_figures(host: Host) -> None:
    lines = dict(line.split(" = ") for line in host.does("physinfo").splitlines())
    assert int(lines["nr_cpus"]) == len(host.does("pcpuinfo").splitlines())
    assert re.fullmatch(r"\d+ \(\d+ Mb\)", lines["total_pages"])
    assert lines["capabilities"].startswith("hvm")


def test_debug_keys_show_in_the_log(host: Host) -> None:
    host.does("debugkeys", "q", "h")
    assert "'q' pressed" in host.does("dmesg")
    assert "'h' pressed" in host.does("dmesg")


def test_a_balloon_has_a_target_and_a_least_size(host: Host) -> None:
    domid = host.built()
    host.does("balloon", "-domid", domid, "-memory", 17)
    assert "more than 16" in host.refuses("balloon", "-domid", domid, "-memory", 16)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("pause_domain",), 'error: "domid" argument is not valid'),
        (("pause_domain", "-domid", "x"), 'error: "domid" argument is not valid'),
        (("pause_domain", "-domid", "77"), "error: there is no domain 77"),
        (("destroy_domain", "-domid", "0"), "error: domain 0 is this host's own"),
        (("add_ioport", "-domid", "0", "-start", "8", "-end", "8"), 'error: "end" argument is not valid'),
        (
            ("affinity_set", "-domid", "0", "-vcpu", "0", "-bitmap", "012"),
            'error: "bitmap" argument is not valid',
        ),
        (("del_vbd", "-domid", "1", "-virtpath", "foo"), 'error: "virtpath" argument is not valid'),
        (("add_vbd", *DISK, "-virtpath", "foo"), 'error: "virtpath" argument is not valid'),
        (("sysrq", "-domid", "1", "-key", "\udcff"), "error: '\\udcff' is not UTF-8"),
        (("debugkeys", "q\udcff"), "error: 'q\\udcff' is not UTF-8"),
        (("shutdown", "-domid", "0"), "error: one of -poweroff, -reboot, -suspend, -halt is needed"),
        (("add_dm", "-domid", "1"), "error: add_dm: "),
        (("getenforce",), "error: enforcing: ENOSYS"),
        (("nonsense",), "xenops: unknown command 'nonsense'; known: "),
    ],
)
def test_wrong_words_end_in_one_line(host: Host, words: tuple[str, ...], says: str) -> None:
    assert host.refuses(*words).startswith(says)


def test_a_kernel_that_cannot_be_read_leaves_the_domain_empty(host: Host) -> None:
    domid = host.does("create_domain")
    words = ("build_domain", "-domid", domid, "-vcpus", 1, "-kernel")
    assert "/no/such/kernel" in host.refuses(*words, "/no/such/kernel")
    assert "created with 1 vcpus, not 2" in host.refuses(
        "build_domain", "-domid", domid, "-vcpus", 2, "-kernel", host.kernel
    )
    host.does(*words, host.kernel)
    assert "was built before" in host.refuses(*words, host.kernel)


def test_words_that_nobody_knows_are_warned_of(host: Host) -> None:
    done = host.xenops("physinfo", "-colour")
    assert done.returncode == 0
    assert done.stderr == "xenops: warning: unknown option -colour is ignored\n"


def test_help_goes_to_stderr(host: Host) -> None:
    done = host.xenops()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n      ") >= 40
    assert "-weight WEIGHT -cap CAP" in host.xenops("help", "sched_domain").stderr


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("name", ["dom-uuid", "getuuid_domain"])
def test_a_command_answers_to_its_own_name(name: str) -> None:
    program = (
        f"import sys; sys.argv[0] = {name!r}; from openxt_xenvm.xenops.main import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "-domid", "0"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "00000000-0000-0000-0000-000000000000"
