# SPDX-License-Identifier: GPL-2.0-or-later
"""What the zygote offers the kernel to merge: what it wrote, also in forks; nothing of programs it starts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from openxt_xenvm.merging import private_ranges, switch_on

MAPS = """\
55e0a0000000-55e0a0001000 r--p 00000000 fe:00 1234                       /usr/bin/python3.11
55e0a0001000-55e0a0003000 rw-p 00001000 fe:00 1234                       /usr/bin/python3.11
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
7f0000100000-7f0000200000 rw-s 00000000 00:01 5                          /dev/shm/others read it too
7f0000200000-7f0000300000 r-xp 00000000 fe:00 77                         /usr/lib/libc.so.6
"""

OFFER = """
import os, subprocess, sys
from openxt_xenvm.merging import offer_own_pages
try:
    offer_own_pages()
except OSError:
    sys.exit("no merging")
offered = lambda text: sum(" mg" in line for line in text.splitlines() if line.startswith("VmFlags"))
reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, b"%d" % offered(open("/proc/self/smaps").read()))
    os._exit(0)
started = subprocess.run(["cat", "/proc/self/smaps"], capture_output=True, text=True, check=True).stdout
print(int(os.read(reading, 9)) > 0, offered(started) > 0)
"""

REFUSED = """
from openxt_xenvm import merging, zygote
def may_not():
    raise PermissionError(13, "Permission denied", "/sys/kernel/mm/ksm/run")
merging.offer_own_pages, merging.switch_on = lambda: None, may_not
zygote.merge_pages(may_switch=True)
print("serves")
"""


def test_memory_that_this_process_alone_can_write_is_offered() -> None:
    assert list(private_ranges(MAPS)) == [(0x55E0A0001000, 0x55E0A0003000), (0x7F0000000000, 0x7F0000100000)]


def test_a_fork_stays_offered_and_a_program_that_is_started_does_not() -> None:
    ran = subprocess.run([sys.executable, "-c", OFFER], capture_output=True, text=True)
    if "no merging" in ran.stderr:
        pytest.skip("this kernel merges no pages")
    assert ran.stdout.split() == ["True", "False"], ran.stderr


@pytest.mark.parametrize(
    ("chosen", "then", "told"),
    [("0", "1", "switched on"), ("1", "1", "on already"), ("2", "2", "left off: .* is 2")],
)
def test_merging_is_switched_on_unless_somebody_chose_otherwise(
    tmp_path: Path, chosen: str, then: str, told: str
) -> None:
    for name, value in {"run": chosen, "pages_to_scan": "777"}.items():
        (tmp_path / name).write_text(f"{value}\n")
    assert re.fullmatch(told, switch_on(tmp_path))
    assert {file.name: file.read_text().strip() for file in tmp_path.iterdir()} == {
        "run": then,
        "pages_to_scan": "777",
    }


def test_a_kernel_without_merging_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        switch_on(tmp_path / "ksm")


def test_a_host_that_may_not_be_changed_is_told_of_in_a_line_and_served() -> None:
    environ = {"OPENXT_LOG": "stderr", "PATH": "/usr/bin:/bin"}
    ran = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, env=environ)
    assert ran.stdout == "serves\n"
    assert len(ran.stderr.splitlines()) == 1
    assert "WARNING" in ran.stderr
    assert "Permission denied: '/sys/kernel/mm/ksm/run'" in ran.stderr
