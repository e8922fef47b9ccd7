#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""In a dom0: how long the start of a PV VM takes with us, against `xl create` of the same guest.

One boot, rounds in turn; what counts is a command from its beginning to its end, when the domain has been
unpaused.  `busctl call` asks xenmgr to start the VM: a client in C, as xl is one, so that the ratio is that
of the toolstacks; the two below add the start of a Python interpreter, `xec-vm` (by way of xenmgr) and
`xenvm-cmd` (asks the monitor itself).  Prints the medians, and `xen-start RATIO CEILING ok|above` last.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 5
CEILING = 1.2  # of xl's time
NAME = "bench"
XENMGR = "com.citrix.xenclient.xenmgr"
UUID = "be7c4d03-0000-4000-8000-000000000001"
KERNEL, INITRD, CMDLINE, MEMORY_MIB = "/guest/vmlinux", "/guest/initrd.gz", "console=hvc0 quiet", 128


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}: {done.stderr}")
    return done.stdout.strip()


def start_daemons() -> "subprocess.Popen[str]":
    """All of ours; their places go into our environment."""
    command = ["openxt-house", "--xen", "--keep", "--dir", "/run/openxt", "--share", "/openxt"]
    house = subprocess.Popen([*command, "--start-timeout", "120"], stdout=subprocess.PIPE, text=True)
    assert house.stdout is not None
    for line in house.stdout:
        if line.startswith("export ") and not line.startswith("export PATH"):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            os.environ[name] = shlex.split(value)[0] if value else ""
        if line.strip() == "ready":
            return house
    raise SystemExit("the daemons did not come up")


def write_configs() -> Path:
    common = f"kernel = {KERNEL!r}\nramdisk = {INITRD!r}\ncmdline = {CMDLINE!r}\nmemory = {MEMORY_MIB}\n"
    xl = Path("/tmp/bench.cfg")
    xl.write_text(f"name = 'bench-xl'\ntype = 'pv'\nvcpus = 1\n{common}")
    own = Path("/tmp/bench-xenvm")
    own.write_text(
        f"uuid = {UUID}\nname = bench-xenvm\nstartup = shutdown\nkernel = {KERNEL}\ninitrd = {INITRD}\n"
        f"cmdline = {CMDLINE}\nmemory = {MEMORY_MIB}\n"
    )
    template = {
        "name": NAME,
        "stubdom": "false",
        "config": {
            **{"hvm": "false", "virt-type": "pv", "qemu-dm-path": "", "kernel": KERNEL, "initrd": INITRD},
            **{"cmdline": CMDLINE, "memory": str(MEMORY_MIB), "disk": {"0": {"enable": "false"}}},
        },
    }
    run("xec", "create-vm-with-template-and-json", "new-vm-linux", json.dumps(template))
    run("xenvm", "--config", str(own))
    return xl


def vm_path() -> str:
    return f"/vm/{run('xec-vm', '-n', NAME, 'get', 'uuid').replace('-', '_')}"


def guests() -> list[str]:
    """Memory in MiB of each, as xl sees it."""
    return [line.split()[2] for line in run("xl", "list").splitlines()[2:]]


def measure(start: Callable[[], object], stop: Callable[[], object]) -> tuple[float, str]:
    """Seconds until the guest runs, and its memory."""
    began = time.monotonic()
    start()
    took_s = time.monotonic() - began
    (memory,) = guests()
    stop()
    while guests():
        time.sleep(0.05)
    time.sleep(0.5)  # backends and daemons settle
    return took_s, memory


def main() -> int:
    house = start_daemons()
    config = str(write_configs())
    path = vm_path()
    call = ("busctl", "--system", "--timeout=120", "call", XENMGR, path, f"{XENMGR}.vm")
    ways = {
        "xl create": (lambda: run("xl", "create", "-q", config), lambda: run("xl", "destroy", "bench-xl")),
        "xenmgr start": (lambda: run(*call, "start"), lambda: run(*call, "destroy")),
        "xec-vm start": (
            lambda: run("xec-vm", "-n", NAME, "start"),
            lambda: run("xec-vm", "-n", NAME, "destroy"),
        ),
        "xenvm-cmd start": (
            lambda: run("xenvm-cmd", UUID, "start"),
            lambda: run("xenvm-cmd", UUID, "destroy"),
        ),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(ROUNDS + 1):  # the first one warms the caches
        for way, (start, stop) in ways.items():
            took_s, memory = measure(start, stop)
            if number:
                times[way].append(took_s)
                print(f"{way}: {took_s:.3f} s, {memory} MiB", flush=True)
    house.terminate()
    medians = {way: statistics.median(values) for way, values in times.items()}
    print(", ".join(f"{way} {value:.3f} s" for way, value in medians.items()))
    ratio = medians["xenmgr start"] / medians["xl create"]
    print(f"xen-start {ratio:.2f} {CEILING} {'ok' if ratio <= CEILING else 'above'}")
    return 0 if ratio <= CEILING else 1


if __name__ == "__main__":
    sys.exit(main())
