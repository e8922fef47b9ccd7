# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest's program that uses each disk and card that comes, tells of it, and of each that goes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xl_guest import Guest, run

BRIDGE, DOM0_ADDRESS, GUEST_ADDRESS = "hbr0", "10.78.0.1", "10.78.0.2"
MAC = "00:16:3e:0a:0b:0d"
SIZE = 1 << 20
BLOCK = 512

# Every device that comes is read or pinged through, written if it can be; every one that goes is told of.
PROGRAM = f"""\
echo "GUEST READY"
number=0
say() {{ number=$((number + 1)); echo "GUEST $number $*"; }}
block() {{
    until [ -b "/dev/$1" ]; do usleep 50000; done
    text="$(head -c 9 "/dev/$1")"
    ro="$(cat "/sys/block/$1/ro")"
    [ "$ro" = 1 ] || echo "from the guest" | dd "of=/dev/$1" bs={BLOCK} seek=1 conv=fsync 2>/dev/null
    say "GOT $1 $text ro=$ro"
}}
card() {{
    ip addr add {GUEST_ADDRESS}/24 dev "$1"
    ip link set "$1" up
    until ping -c 1 -w 2 {DOM0_ADDRESS} >/dev/null; do :; done
    say "GOT $1 $(cat "/sys/class/net/$1/address") and pinged"
}}
has() {{ case " $2 " in *" $1 "*) return 0 ;; esac; return 1; }}
names() {{
    for path in /sys/block/xvd* /sys/class/net/eth*; do [ ! -e "$path" ] || echo "${{path##*/}}"; done
}}
known=
while :; do
    now="$(echo $(names))"
    for name in $now; do
        has "$name" "$known" || case "$name" in xvd*) block "$name" ;; *) card "$name" ;; esac
    done
    for name in $known; do
        has "$name" "$now" || say "LOST $name"
    done
    known="$now"
    usleep 50000
done
"""


@dataclass
class Teller:
    """What the guest says, one line after the other."""

    guest: Guest
    number: Iterator[int]

    def says(self, text: str) -> None:
        self.guest.wait_until_it_says(f"GUEST {next(self.number)} {text}\n", 60)


def image(folder: Path, name: str, text: str, format_: str = "raw") -> Path:
    raw, made = folder / f"{name}.raw", folder / name
    raw.write_bytes(text.encode().ljust(SIZE, b"\0"))
    run("qemu-img", "convert", "-f", "raw", "-O", format_, raw, made)
    raw.unlink()
    return made


def content(file: Path, format_: str = "raw") -> bytes:
    raw = file.with_suffix(".check")
    run("qemu-img", "convert", "-f", format_, "-O", "raw", file, raw)
    return raw.read_bytes()
