# SPDX-License-Identifier: GPL-2.0-or-later
"""Only what the emulator is known to do wrong counts as its fault."""

from xenbed.faults import emulator_fault

BROKEN = """\
[    7.054365] BUG: ENTRY_TRAMPOLINE stack guard page was hit at (____ptrval____)
[    7.069208] RIP: 0010:asm_sysvec_xen_hvm_callback+0x0/0x20
[    7.278873] Kernel panic - not syncing: Fatal exception in interrupt
"""


def test_a_panic_in_the_interrupt_entry_is_the_emulators() -> None:
    fault = emulator_fault("", {"quiet": "GUEST READY\n", "linux-pvh": BROKEN})
    assert fault is not None
    assert "linux-pvh" in fault


def test_a_triple_fault_that_xen_saw_is_the_emulators() -> None:
    assert emulator_fault("(XEN) d3v0 Triple fault - invoking HVM shutdown action 1\n", {}) is not None


def test_a_panic_elsewhere_is_ours() -> None:
    text = "[    5.1] Kernel panic - not syncing: VFS: Unable to mount root fs\n"
    assert emulator_fault("BED-READY after 12 s\n", {"linux-pvh": text}) is None


def test_a_guest_that_only_mentions_the_entry_is_no_fault() -> None:
    assert emulator_fault("", {"linux-pvh": "asm_sysvec_xen_hvm_callback is fine\nGUEST READY\n"}) is None


def test_what_dom0_says_of_triple_faults_is_not_xens_word() -> None:
    assert emulator_fault("a test about a triple fault\n", {}) is None
