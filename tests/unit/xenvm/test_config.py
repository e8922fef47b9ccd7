# SPDX-License-Identifier: GPL-2.0-or-later
"""The config file: every key, every error, and what `get` and `set` make of it."""

import os
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.ids import Uuid
from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.keys import ALIASES, LISTS, SCALARS
from openxt_xenvm.config.model import (
    Action,
    Affinity,
    Carrier,
    CpuidMask,
    Disk,
    Display,
    DomainConfig,
    NotifyTo,
    Pair,
    PciAddress,
    PciDevice,
    Screen,
    Span,
    Startup,
    StartupMode,
)
from openxt_xenvm.config.nics import HostNet, derived_mac, random_mac
from openxt_xenvm.config.parse import get_field, parse_config, set_field

UUID = Uuid("00000000-0000-0000-0000-000000000001")
MASK = "x" * 31 + "0"

GOOD_LINES = [
    ("memory = 64", "memory_kib", 65536),
    ("memory-max=0x80", "memory_max_kib", 128 * 1024),
    ("stubdom-memory = 32", "stubdom_memory_kib", 32768),
    ("hvm = yes", "hvm", True),
    ("virt-type = PVH", "virt_type", Kind.PVH),
    ("name = two words = one name", "name", "two words = one name"),
    ("startup = poweroff", "startup", Startup(StartupMode.SHUTDOWN)),
    ("startup = restore-del /a b", "startup", Startup(StartupMode.RESTORE, "/a b", delete=True)),
    ("on_reboot = reboot", "on_restart", Action.RESTART),
    ("on_crash = preserve", "on_crash", Action.PRESERVE),
    ("debug = Y", "debug", True),
    ("timeoffset = -3600", "time_offset", "-3600"),
    ("initrd = ", "initrd", None),
    ("notify = dbus,rest", "notify", NotifyTo(Carrier.DBUS, "rest")),
    ("notify = unix,/run/x", "notify", NotifyTo(Carrier.UNIX, "/run/x")),
    ("notify = tcp,127.0.0.1:99", "notify", NotifyTo(Carrier.TCP, "127.0.0.1", 99)),
    ("display = none", "display", Display(Screen.NONE)),
    (
        "display = vnc:use-port-unused,port=3,keymap=de",
        "display",
        Display(Screen.VNC, "", 3, "de", use_port_unused=True),
    ),
    ("display = sdl:x", "display", Display(Screen.SDL, "x")),
    ("extra-hvm = std-vga", "extra_hvm", (Pair("std-vga", "", has_value=False),)),
    ("platform = a=b=c", "platform", (Pair("a", "b=c"),)),
    ("passthrough-io = 0x10-0x1f", "passthrough_io", (Span(0x10, 0x1F),)),
    ("cpus-affinity = 1:0,3", "cpus_affinity", (Affinity(1, (0, 3)),)),
    (f"cpuid = 0x1+2:ecx={MASK}", "cpuid", (CpuidMask(1, 2, (None, None, MASK, None)),)),
    (
        "disk = /dev/vg/t:phy:hda:w:disk:",
        "disk",
        (Disk("/dev/vg/t", "phy", "hda", writable=True, is_cdrom=False),),
    ),
    (
        "disk = /i.iso:file:hdc:r:cdrom",
        "disk",
        (Disk("/i.iso", "file", "hdc", writable=False, is_cdrom=True),),
    ),
    (
        "disk = /a:vhd:xvdb:w:disk:temporary:key-dir=/k,/l:backend-domid=3",
        "disk",
        (
            Disk(
                "/a",
                "vhd",
                "xvdb",
                writable=True,
                is_cdrom=False,
                snapshot="temporary",
                backend_domid=3,
                key_dirs=("/k", "/l"),
            ),
        ),
    ),
    (
        "pci = 0,bind,0000:00:1f.3,guest_slot=4,msitranslate=0",
        "pci",
        (PciDevice(0, PciAddress(0, 0, 0x1F, 3), bind=True, msitranslate=0, guest_slot=4),),
    ),
]


@pytest.mark.parametrize(("line", "field", "expected"), GOOD_LINES)
def test_a_good_line_becomes_its_value(line: str, field: str, expected: object) -> None:
    parsed = parse_config(line)
    assert parsed.errors == ()
    assert getattr(parsed.config, field) == expected


@pytest.mark.parametrize(
    "line",
    [
        "nonsense = 1",
        "memory = lots",
        "memory = 0",
        "memory = 99999999999999999999999",
        "vcpus = 0",
        "hvm = maybe",
        "on_halt = explode",
        "uuid = 12",
        "startup = restore",
        "notify = tcp6,::1:5",
        "notify = tcp,example.org:5",
        "disk = /a:phy:hda",
        "disk = /a:phy:hda:x:disk:",
        "disk = /a:phy:hda:w:disk:nosuchmode",
        "disk = /a:phy:hda:w:disk::what=ever",
        "pci = 0,bind",
        "pci = 0,0000:00:20.0",
        "cpuid = 1:ecx=0xff",
        "cpus-affinity = 0:64",
        "passthrough-io = 10-5",
        "passthrough-io = 0-0x10000",
        "nic = bridge",
        "extra-local-watch = ../../0/secret",
        "platform = no-equals-sign-inside",
        "name = a\0b",
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_the_rest_is_used(line: str) -> None:
    parsed = parse_config(f"vcpus = 3\n# comment\n{line}\nkernel = /k\n")
    assert [(error.line, error.fatal) for error in parsed.errors] == [(3, False)]
    assert (parsed.config.vcpus, parsed.config.kernel) == (3, "/k")


def test_errors_say_key_reason_and_line() -> None:
    (error,) = parse_config("hvm = maybe").errors
    assert str(error) == "config error: hvm: 'maybe' is neither true nor false (line 1)"


def test_the_last_scalar_wins_and_lists_add_up() -> None:
    parsed = parse_config("vcpus=1\nvcpus=2\nbios-string=a=1\nbios-string=b=2")
    assert parsed.config.vcpus == 2
    assert parsed.config.bios_string == (Pair("a", "1"), Pair("b", "2"))


def test_lines_without_equals_comments_and_blanks_are_ignored() -> None:
    assert parse_config("\n   \nhello\n#memory = x\n\t# vcpus = y\n").errors == ()


def test_a_carriage_return_stays_in_the_value() -> None:
    assert parse_config("kernel = /k\r\n").config.kernel == "/k\r"


@given(st.text())
def test_no_text_makes_the_parser_raise(text: str) -> None:
    parse_config(text)


KEYS = st.sampled_from([row.name for row in (*SCALARS, *LISTS)] + list(ALIASES))


@given(st.lists(st.tuples(KEYS, st.text(alphabet="0123456789abcdefxr:,.=-/+ kK\0", max_size=40))))
def test_no_value_of_a_known_key_makes_the_parser_raise(pairs: list[tuple[str, str]]) -> None:
    parse_config("\n".join(f"{key} = {value}" for key, value in pairs))


@given(KEYS, st.text(max_size=30))
def test_set_refuses_or_get_reads_back_what_was_set(key: str, text: str) -> None:
    try:
        changed = set_field(DomainConfig(), key, text)
    except (KeyError, ValueError):
        return
    shown = get_field(changed, key)
    assert get_field(set_field(DomainConfig(), key, shown), key) == shown


def test_every_row_has_a_field_and_every_field_a_row() -> None:
    rows = sorted([row.field for row in SCALARS] + [row.field for row in LISTS])
    assert rows == sorted(field.name for field in fields(DomainConfig))


def test_get_and_set_speak_kib_where_the_file_says_mib() -> None:
    config = parse_config("memory = 64").config
    assert get_field(config, "memory") == "65536"
    assert get_field(config, "memory-max") == "65536"
    assert set_field(config, "memory", "131072").memory_kib == 131072


@pytest.mark.parametrize("name", ["uuid", "startup", "debug", "on_halt", "nosuch", "disk"])
def test_fields_that_get_does_not_know(name: str) -> None:
    with pytest.raises(KeyError):
        get_field(DomainConfig(), name)
    with pytest.raises(KeyError):
        set_field(DomainConfig(), name, "1")


@pytest.mark.parametrize(
    ("field", "text", "shown"),
    [
        ("display", "none", "none"),
        ("display", "vnc", "vnc:port=0,keymap=en-us"),
        ("display", "vnc:use-port-unused", "vnc:use-port-unused,port=0,keymap=en-us"),
        ("notify", "tcp,10.0.0.1:80", "tcp,10.0.0.1:80"),
        ("notify", "", ""),
        ("hvm", "YES", "true"),
        ("hpet", "", ""),
    ],
)
def test_how_fields_are_printed(field: str, text: str, shown: str) -> None:
    assert get_field(set_field(DomainConfig(), field, text), field) == shown


@pytest.mark.parametrize(
    ("nic", "model", "mac"),
    [
        (0, "", "4e:1c:b4:98:ed:0a"),
        (1, "", "f2:48:68:4f:d0:81"),
        (0, "e1000", "d6:5c:04:f4:0a:8d"),
    ],
)
def test_a_derived_mac_is_the_one_the_vm_always_had(nic: int, model: str, mac: str) -> None:
    assert derived_mac(nic, model, UUID) == mac


def test_network_cards_get_free_ids_and_are_sorted() -> None:
    config = parse_config("vif = id=1\nvif =\nnic = bridge=b,mac=aa:bb:cc:dd:ee:ff", UUID).config
    assert [nic.id for nic in config.nic] == [0, 1, 2]
    assert config.nic[0].mac == "4e:1c:b4:98:ed:0a"
    assert config.nic[2].mac == "aa:bb:cc:dd:ee:ff"


@pytest.mark.parametrize("lines", ["vif=id=1\nvif=id=1", "vif=id=32"])
def test_clashing_network_cards_are_fatal(lines: str) -> None:
    assert len(parse_config(lines, UUID).fatal) == 1


def test_a_card_without_a_place_goes_to_the_first_bridge() -> None:
    host = HostNet(("br0", "br1"))
    config = parse_config("vif=\nvif=backend-domid=3", UUID, host).config
    assert [nic.bridge for nic in config.nic] == ["br0", ""]


def test_a_random_mac_is_in_xens_range() -> None:
    assert random_mac(lambda count: b"\xff" * count) == "00:16:3e:7f:ff:ff"


def test_a_card_whose_address_is_random_gets_another_one_each_time() -> None:
    host = HostNet(random_bytes=os.urandom)
    found = {parse_config("vif=mac=random", UUID, host).config.nic[0].mac for _ in range(20)}
    assert len(found) > 1
    assert all(mac.startswith("00:16:3e:") for mac in found)


def test_memory_max_below_memory_is_reported_and_left_out() -> None:
    parsed = parse_config("memory = 64\nmemory-max = 32")
    assert [error.key for error in parsed.errors] == ["memory-max"]
    assert parsed.config.static_max_kib == 65536
