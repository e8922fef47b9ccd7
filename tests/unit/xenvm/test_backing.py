# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands between an image and blkback, formats of images, and devices as lines."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_xenvm.config.device_lines import device_lines, with_devices
from openxt_xenvm.config.model import Disk, DomainConfig, Nic, PciAddress, PciDevice
from openxt_xenvm.devices.backing import Layer, cipher_of_key, key_names, layers, mapping_of, overlay_of
from openxt_xenvm.devices.images import image_format

DISK = Disk("/images/win.vhd", "file", "xvda", writable=True, is_cdrom=False)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"type": "phy"}, ()),
        ({"type": "file"}, (Layer.LOOP,)),
        ({"type": "aio"}, (Layer.LOOP,)),
        ({"type": "qcow"}, (Layer.IMAGE,)),
        ({"type": "vhd"}, (Layer.IMAGE,)),
        ({"type": "vhd", "key_dirs": ("/k",)}, (Layer.IMAGE, Layer.CRYPT)),
        ({"type": "phy", "key_file": "/k"}, (Layer.CRYPT,)),
        ({"type": "phy", "snapshot": "temporary"}, (Layer.SNAPSHOT, Layer.IMAGE)),
        ({"type": "file", "snapshot": "temporary-encrypted"}, (Layer.SNAPSHOT, Layer.IMAGE)),
        ({"type": "vhd", "snapshot": "coalesce"}, (Layer.SNAPSHOT, Layer.IMAGE)),
        ({"type": "vhd", "snapshot": "scripted"}, (Layer.SCRIPTED, Layer.IMAGE)),
        ({"type": "vhd", "backend_domid": 3}, ()),
    ],
)
def test_every_type_of_disk_becomes_a_block_device(
    changes: dict[str, object], expected: tuple[Layer, ...]
) -> None:
    assert layers(replace(DISK, **changes)) == expected  # type: ignore[arg-type]  # fields of Disk


def test_names_of_what_is_made_follow_the_image() -> None:
    assert overlay_of("/images/win.vhd") == "/images/win.snap.tmp.qcow2"
    assert overlay_of("/images/plain") == "/images/plain.snap.tmp.qcow2"
    assert overlay_of("/dev/vg.1/plain") == "/dev/vg.1/plain.snap.tmp.qcow2"
    assert mapping_of("/dev/nbd3") == "/dev/mapper/nbd3.crypt"
    assert key_names("/images/win.x.vhd")[-1] == "win,aes-xts-plain,256.key"
    assert cipher_of_key("/keys/win,aes-xts-plain,256.key") == ("aes-xts-plain", 256)


VHD = b"conectix" + bytes(52)


@pytest.mark.parametrize(
    ("type_", "head", "foot", "expected"),
    [
        ("qcow", b"QFI\xfb\0\0\0\1", b"", "qcow"),
        ("qcow", b"QFI\xfb\0\0\0\2", b"", "qcow2"),
        ("qcow", b"QFI\xfb\0\0\0\3", b"", "qcow2"),
        ("vhd", b"", VHD + b"\0\0\0\2", "vpc"),
        ("vhd", b"", VHD + b"\0\0\0\3", "vpc"),
        ("file", b"QFI\xfb\0\0\0\3", VHD + b"\0\0\0\3", "raw"),
    ],
)
def test_a_format_is_believed_only_where_the_type_says_so(
    type_: str, head: bytes, foot: bytes, expected: str
) -> None:
    assert image_format(type_, head, foot) == expected


@pytest.mark.parametrize(
    ("type_", "head", "foot", "reason"),
    [
        ("qcow", b"", b"", "not a qcow image"),
        ("qcow", b"QFI\xfb\0\0\0\4", b"", "not a qcow image"),
        ("vhd", b"conectix", b"", "not a vhd image"),
        ("vhd", b"", VHD + b"\0\0\0\4", "differencing"),
    ],
)
def test_what_is_no_image_of_its_type_says_so(type_: str, head: bytes, foot: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        image_format(type_, head, foot)


WORDS = st.text("abcxyz/09._-", min_size=1, max_size=12)
DISKS = st.builds(
    Disk,
    WORDS,
    st.sampled_from(["phy", "file", "qcow", "vhd", "aio", "vdi"]),
    st.sampled_from(["hda", "xvdb", "sdc1", "51728"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "temporary", "scripted"]),
    st.integers(0, 9),
    st.just("") | WORDS,
    key_dirs=st.lists(WORDS, max_size=2).map(tuple),
)
NICS = st.builds(
    Nic,
    st.none() | st.integers(0, 31),
    st.just("") | WORDS,
    st.just("") | WORDS,
    st.just("") | WORDS,
    st.just("") | st.just("00:16:3e:00:00:01"),
    st.booleans(),
    st.integers(0, 9),
)
NUMBERS = st.none() | st.integers(0, 255)
ADDRESSES = st.builds(
    PciAddress, st.integers(0, 65535), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7)
)
PCI_DEVICES = st.builds(
    PciDevice, st.integers(0, 9), ADDRESSES, st.booleans(), NUMBERS, NUMBERS, NUMBERS, NUMBERS
)


@given(
    st.lists(DISKS, max_size=3).map(tuple),
    st.lists(NICS, max_size=3).map(tuple),
    st.lists(PCI_DEVICES, max_size=3).map(tuple),
)
def test_devices_read_back_as_they_were_written(
    disks: tuple[Disk, ...], nics: tuple[Nic, ...], pci: tuple[PciDevice, ...]
) -> None:
    config = DomainConfig(disk=disks, nic=nics, pci=pci)
    assert with_devices(DomainConfig(), device_lines(config)) == config


def test_lines_that_cannot_be_read_change_nothing() -> None:
    config = DomainConfig(disk=(DISK,))
    assert with_devices(config, ["disk = x"]) == config
    assert with_devices(config, ["memory = 3"]) == config
