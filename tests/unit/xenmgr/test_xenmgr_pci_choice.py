# SPDX-License-Identifier: GPL-2.0-or-later
"""Which devices rules mean, and what counts as a device that drifted in."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from openxt_core.places import Places
from openxt_xenmgr.host import pci
from openxt_xenmgr.vm.passthrough import MatchRule, PciRule, parse_address_rule, parse_match_rule
from openxt_xenmgr.vm.pci_choice import HostDevice, choose, drifted, granted, seen_after, to_pass
from openxt_xenmgr.vm.xenvm_config import PciDevice

NIC = HostDevice("0000:00:19.0", 0x0200, 0x8086, 0x10D3, "Intel 82574L")
WIFI = HostDevice("0000:02:00.0", 0x0280, 0x8086, 0x4232)
OTHER_NIC = HostDevice("0000:03:00.1", 0x0200, 0x14E4, 0x1684)
HOST = (NIC, WIFI, OTHER_NIC)
NICS = parse_match_rule("0x0200", "any", "")


def test_a_rule_means_what_equals_all_that_it_names() -> None:
    assert choose([NICS], HOST).devices == (NIC, OTHER_NIC)
    assert choose([parse_match_rule("", "0x8086", "any")], HOST).devices == (NIC, WIFI)
    assert choose([parse_match_rule("512", "0x8086", "4307")], HOST).devices == (NIC,)
    assert choose([parse_match_rule("0x0300", "", "")], HOST).devices == ()


def test_a_device_that_two_rules_mean_is_passed_once_in_the_slot_that_one_names() -> None:
    rules = [NICS, parse_address_rule("0000:00:19.0@5"), parse_address_rule("0000:02:00.0")]
    assert to_pass(choose(rules, HOST)) == (
        PciDevice(NIC.address, 5),
        PciDevice(WIFI.address),
        PciDevice(OTHER_NIC.address),
    )


def test_force_slot_keeps_the_hosts_slot() -> None:
    assert to_pass(choose([MatchRule(0x0200, 0x8086, None, force_slot=True)], HOST)) == (
        PciDevice(NIC.address, 0x19),
    )


def test_an_address_without_a_device_is_absent_and_a_class_without_one_is_not() -> None:
    absent = choose([parse_address_rule("0000:00:1e.0"), parse_match_rule("0x0300", "", "")], HOST).absent
    assert absent == ("bdf=0000:00:1e.0",)


def test_a_rule_is_taken_at_its_word_once() -> None:
    first = choose([NICS], [NIC])
    assert drifted(first, {}) == ()
    later = choose([NICS], HOST)
    held_back = drifted(later, seen_after(first, {}))
    assert [match.device for match in held_back] == [OTHER_NIC]
    assert granted(later, seen_after(first, {})).devices == (NIC,)


def test_another_card_in_the_same_place_has_drifted_in_for_rules_of_both_kinds() -> None:
    rules: list[PciRule] = [NICS, parse_address_rule(NIC.address)]
    seen = seen_after(choose(rules, [NIC]), {})
    swapped = choose(rules, [replace(NIC, vendor=0x14E4)])
    assert len(drifted(swapped, seen)) == 2
    assert granted(swapped, seen).devices == ()


def test_a_rule_that_meant_nothing_does_not_take_what_comes_later() -> None:
    seen = seen_after(choose([NICS], []), {})
    assert [match.device for match in drifted(choose([NICS], [NIC]), seen)] == [NIC]


def test_a_device_that_was_away_comes_back_without_a_question() -> None:
    seen = seen_after(choose([NICS], HOST), {})
    seen = seen_after(choose([NICS], [NIC]), seen)
    assert drifted(choose([NICS], HOST), seen) == ()


devices = st.lists(
    st.builds(
        HostDevice,
        st.sampled_from([f"0000:00:{slot:02x}.0" for slot in range(6)]),
        st.sampled_from([0x0200, 0x0300]),
        st.sampled_from([1, 2]),
        st.sampled_from([1, 2]),
    ),
    unique_by=lambda device: device.address,
)
any_rules = st.lists(
    st.one_of(
        st.builds(MatchRule, st.sampled_from([0x0200, None]), st.sampled_from([1, None]), st.just(None)),
        st.sampled_from([parse_address_rule(f"0000:00:0{slot}.0") for slot in range(6)]),
    ),
    max_size=4,
)


@given(any_rules, devices, devices)
def test_nothing_is_granted_that_its_rule_has_not_meant_before(
    rules: list[PciRule], then: list[HostDevice], now: list[HostDevice]
) -> None:
    seen = seen_after(choose(rules, then), {})
    choice = choose(rules, now)
    for match in granted(choice, seen).matches:
        assert match.device in then
    assert drifted(choice, seen_after(choice, seen)) == ()


# sysfs


def host(root: Path, *, with_pciback: bool = True) -> Places:
    bus = root / "sys/bus/pci"
    device = bus / "devices" / NIC.address
    device.mkdir(parents=True)
    for name, value in (("vendor", "0x8086"), ("device", "0x10d3"), ("class", "0x020000")):
        (device / name).write_text(f"{value}\n")
    for driver in ("e1000e", *(["pciback"] if with_pciback else [])):
        (bus / "drivers" / driver).mkdir(parents=True)
    (device / "driver").symlink_to(bus / "drivers/e1000e")
    names = root / "usr/share/pci.ids"
    names.parent.mkdir(parents=True)
    names.write_text("# x\n8086  Intel\n\t10d3  82574L\n\t\t8086 a01f  sub\nC 02  Network\n")
    return Places(root)


def test_devices_are_read_from_sysfs_with_their_names(tmp_path: Path) -> None:
    assert pci.inventory(host(tmp_path)) == [NIC]
    assert pci.inventory(Places(tmp_path / "none")) == []


def test_hiding_takes_the_device_from_its_driver_for_pciback(tmp_path: Path) -> None:
    pci.hide(host(tmp_path), [NIC.address])
    drivers = tmp_path / "sys/bus/pci/drivers"
    for file in ("e1000e/unbind", "pciback/new_slot", "pciback/bind"):
        assert (drivers / file).read_text() == NIC.address


def test_without_pciback_a_device_keeps_its_driver(tmp_path: Path) -> None:
    pci.hide(host(tmp_path, with_pciback=False), [NIC.address])
    assert not (tmp_path / "sys/bus/pci/drivers/e1000e/unbind").exists()


def test_what_pciback_holds_is_left_alone(tmp_path: Path) -> None:
    places = host(tmp_path)
    link = tmp_path / "sys/bus/pci/devices" / NIC.address / "driver"
    link.unlink()
    link.symlink_to(tmp_path / "sys/bus/pci/drivers/pciback")
    pci.hide(places, [NIC.address])
    assert not (tmp_path / "sys/bus/pci/drivers/pciback/new_slot").exists()
