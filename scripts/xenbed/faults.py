# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of the emulator, told from faults of ours by what they leave in the logs of a run.

QEMU emulates a processor with virtualisation, for Xen.  About once in thirty boots a Linux PVH guest that
takes an interrupt in user mode meets a fault on the handler's first instruction, and its kernel panics in
there, or Xen sees a triple fault.  Guests made by Xen's own tool meet it, too; PV guests and the tiny ones
never do.
"""

from __future__ import annotations

from pathlib import Path

INTERRUPT_ENTRY = "asm_sysvec_xen_hvm_callback"  # only Linux PVH and HVM guests have it
PANIC = "Kernel panic - not syncing"
TRIPLE_FAULT = "Triple fault"  # Xen says it with the guest's domid and vcpu


def emulator_fault(console: str, guest_consoles: dict[str, str]) -> str | None:
    """What the emulator did wrong in a run, in one sentence; None if the logs show nothing of the kind.

    `guest_consoles` has the text of each guest's console by its name.
    """
    for name, text in guest_consoles.items():
        if PANIC in text and INTERRUPT_ENTRY in text:
            return f"the emulator broke an interrupt of {name}, whose kernel panicked"
    for line in console.splitlines():
        if line.startswith("(XEN)") and TRIPLE_FAULT.lower() in line.lower():
            return f"the emulator let a guest die ({line.strip()})"
    return None


def fault_of_run(folder: Path) -> str | None:
    """The same for a run's folder in build/xen."""
    guests = (folder / "out" / "console").glob("guest-*.log")
    texts = {log.stem.removeprefix("guest-"): log.read_text(errors="replace") for log in guests}
    return emulator_fault((folder / "console.log").read_text(errors="replace"), texts)
