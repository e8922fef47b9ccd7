# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of a stock QEMU, and the card of its screen."""

from itertools import pairwise
from pathlib import Path

import pytest

from openxt_core.ids import Domid, Uuid
from openxt_sim.device_model import Options
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.config.parse import parse_config
from openxt_xenvm.dm import qemu
from openxt_xenvm.domain.hardware import Firmware, Hardware
from openxt_xenvm.domain.memory import build_max_mib, size_of
from openxt_xenvm.domain.video import Vga, vga_of, video_mib

UUID = Uuid("00000000-0000-0000-0000-000000000001")
PLACE = qemu.QemuPlace(Domid(7), UUID, "a,b", Path("/run/q"))
HARDWARE = Hardware(Firmware("/loader", "/bios"), ("/q",))
DIRECT = Hardware(Firmware("/loader", "/bios"), ("/q",), is_direct=True)
HVM = "memory = 64\nhvm = true\nqemu-dm-path = /q\n"


def config(*lines: str) -> DomainConfig:
    parsed = parse_config(HVM + "\n".join(lines), UUID)
    assert parsed.errors == ()
    return parsed.config


def line(*lines: str, hardware: Hardware = HARDWARE) -> tuple[str, ...]:
    chosen = config(*lines)
    return qemu.command_line(chosen, PLACE, qemu.boot_of(chosen, hardware))


def options(*lines: str, hardware: Hardware = HARDWARE) -> list[tuple[str, str]]:
    return [pair for pair in pairwise(line(*lines, hardware=hardware)) if pair[0].startswith("-")]


def test_the_domain_its_machine_and_its_monitor_are_named() -> None:
    found = dict(options("display = none"))
    assert found["-xen-domid"] == "7"
    assert found["-machine"].startswith("xenfv")
    assert found["-name"] == "a,,b"
    assert found["-uuid"] == UUID
    assert found["-chardev"] == "socket,id=monitor,path=/run/q,server=on,wait=off"
    assert found["-m"] == "64"


def test_a_pv_domain_gets_backends_and_no_hardware() -> None:
    chosen = parse_config("memory = 64\nqemu-dm-path = /q\ndisk = /d:file:hda:w:disk:", UUID).config
    words = qemu.command_line(chosen, PLACE, qemu.Boot())
    assert "xenpv" in words
    assert "-xen-attach" in words
    assert "-drive" not in words


@pytest.mark.parametrize(
    ("lines", "vga", "mib"),
    [
        (("display = none",), Vga.NONE, 0),
        (("display = vnc",), Vga.CIRRUS, 8),
        (("display = none", "extra-hvm = std-vga="), Vga.STD, 16),
        (("display = vnc", "videoram = 4"), Vga.CIRRUS, 4),
    ],
)
def test_video_memory_is_the_cards_and_comes_out_of_the_guests(
    lines: tuple[str, ...], vga: Vga, mib: int
) -> None:
    chosen = config(*lines)
    assert (vga_of(chosen), video_mib(chosen)) == (vga, mib)
    assert build_max_mib(size_of(chosen)) == 64 - mib
    assert ("-m", str(64 - mib)) in options(*lines)
    cards = [value for name, value in options(*lines) if name == "-device" and "vgamem_mb" in value]
    assert cards == ([f"{vga},vgamem_mb={mib}"] if vga else [])


@pytest.mark.parametrize(
    ("display", "vnc"),
    [
        ("vnc", "127.0.0.1:0,to=99"),
        ("vnc:port=3", "127.0.0.1:3"),
        ("vnc:port=3,use-port-unused", "127.0.0.1:3,to=99"),
    ],
)
def test_a_screen_is_shown_to_this_host_alone(display: str, vnc: str) -> None:
    assert ("-vnc", vnc) in options(f"display = {display}")


def test_only_ide_disks_are_emulated_and_commas_in_paths_are_kept() -> None:
    drives = [
        value
        for name, value in options(
            "disk = /d,1:file:hda:w:disk:", "disk = /c:file:hdc:r:cdrom:", "disk = /x:phy:xvda:w:disk:"
        )
        if name == "-drive"
    ]
    assert drives == [
        "if=ide,index=0,media=disk,id=ide0,cache=writeback,format=raw,file=/d,,1",
        "if=ide,index=2,media=cdrom,id=ide2,cache=writeback,format=raw,file=/c,readonly=on",
    ]


def test_a_drive_without_a_disc_has_no_file() -> None:
    assert ("-drive", "if=ide,index=2,media=cdrom,id=ide2,cache=writeback,readonly=on") in options(
        "disk = :file:hdc:r:cdrom:"
    )


def test_cards_with_a_backend_elsewhere_are_not_emulated() -> None:
    found = options("vif = id=0,mac=00:16:3e:00:00:01,model=e1000", "vif = id=1,backend-domid=2")
    assert [value for name, value in found if name == "-netdev"] == [
        "tap,id=net0,ifname=tap7.0,script=no,downscript=no"
    ]
    assert ("-device", "e1000,netdev=net0,mac=00:16:3e:00:00:01") in found


def test_a_linux_kernel_is_booted_and_a_loader_is_not() -> None:
    lines = ("kernel = /k", "initrd = /i", "cmdline = a b")
    found = dict(options(*lines, hardware=DIRECT))
    assert (found["-kernel"], found["-initrd"], found["-append"]) == ("/k", "/i", "a b")
    assert "-kernel" not in line(*lines)


def test_processors_acpi_and_boot_order_are_passed_on() -> None:
    found = options("vcpus = 4", "boot = dc", "acpi = true")
    assert ("-smp", "4,maxcpus=4") in found
    assert ("-boot", "order=dc") in found
    assert "-no-acpi" not in line("acpi = true")
    assert "-no-acpi" in line()


def test_options_keep_their_order_and_foreign_ones_stay_out() -> None:
    words = line("extra-hvm = a=1", "extra-hvm = surfman=", "extra-hvm = b", "cdrom-pt = /dev/bsg/1:0:0:0")
    assert words[-3:] == ("-a", "1", "-b")
    told = list(qemu.without_effect(config("extra-hvm = surfman=", "extra-hvm = std-vga=", "cdrom-pt = /x")))
    assert told == ["extra-hvm=cdrom-pt=/x", "extra-hvm=surfman="]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (("vif = model=ne3000",), "ne3000"),
        (("sound = theremin",), "theremin"),
        (("disk = /d:file:hda:r:disk:",), "hda"),
        (("boot = x",), "boot"),
        (("pci = 0,bind,0000:00:10.0,guest_slot=32",), "0000:00:10.0"),
        (("pci = 0,bind,0000:00:10.0,vdevfn=256",), "0000:00:10.0"),
    ],
)
def test_what_qemu_cannot_do_is_told_by_its_key(lines: tuple[str, ...], word: str) -> None:
    (told,) = qemu.mistakes(config(*lines))
    assert word in told


def test_sound_names_the_last_device_of_its_card() -> None:
    assert ("-device", "AC97,audiodev=sound") in options("sound = ac97")
    assert ("-device", "hda-duplex,audiodev=sound") in options("sound = hda")


@pytest.mark.parametrize(
    ("given", "slot"),
    [
        ("", ""),
        (",guest_slot=10", ",addr=a"),
        (",vdevfn=43", ",addr=5.3"),
        (",vdevfn=43,guest_slot=0", ",addr=0"),
    ],
)
def test_devices_of_the_machine_are_shown_to_an_hvm_guest_in_the_slot_it_shall_see(
    given: str, slot: str
) -> None:
    found = options("pci = 0,bind,0000:00:10.0", f"pci = 1,bind,0001:02:1f.7{given}")
    assert ("-device", "xen-pci-passthrough,id=pci-0000_00_10.0,hostaddr=0000:00:10.0") in found
    other = f"xen-pci-passthrough,id=pci-0001_02_1f.7,hostaddr=0001:02:1f.7{slot}"
    assert found[-1] == ("-device", other)
    Options.of(line("pci = 0,bind,0000:00:10.0", f"pci = 1,bind,0001:02:1f.7{given}"))


@pytest.mark.parametrize(
    "words", ["host=0000:00:10.0", "hostaddr=0000:00:10", "id=pci:1,hostaddr=0000:00:10.0", "id=a"]
)
def test_the_simulated_qemu_ends_on_what_the_real_one_does_not_know(words: str) -> None:
    with pytest.raises(ValueError, match="xen-pci-passthrough"):
        Options.of([*line(), "-device", f"xen-pci-passthrough,{words}"])
