# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the methods of a VM's disks and network cards."""

from pathlib import Path

from member_givens import on_vm
from member_methods import Stage, fault, faults, lost, works

from openxt_api.vm_disk import VMDISK
from openxt_api.vm_nic import VMNIC

# Disks


async def with_image(s: Stage) -> Path:
    image = s.it.places.storage / "disks/some.vhd"
    image.write_bytes(bytes(64))
    await s.it.call(s.path, VMDISK.name, "attach_vhd", "s", str(image))
    return image


@works(VMDISK, "attach_vhd", "attach_phy")
async def _attach(s: Stage) -> None:
    kind = s.method.name.removeprefix("attach_")
    await s.call("/dev/sdz")
    names = ("phys-path", "phys-type", "mode", "devtype")
    found = [await s.it.get(s.path, name, VMDISK.name) for name in names]
    assert found == ["/dev/sdz", kind, "w", "disk"]


@works(VMDISK, "mount", "umount")
async def _mount(s: Stage) -> None:
    image, at = await with_image(s), s.file("/mnt")
    node = f"/xenmgr/mount/{s.uuid}/{s.path.rpartition('/')[2]}"
    await s.it.call(s.path, VMDISK.name, "mount", "sb", "/mnt", True)
    assert await s.it.house.xenstore.read(f"{node}/dev") == "/dev/tap7"
    await s.it.call(s.path, VMDISK.name, "umount")
    assert await s.it.house.xenstore.read(f"{node}/dev") is None
    assert s.asked() == [
        f"tap-ctl create -R -a vhd:{image}",
        f"mount -o ro /dev/tap7 {at}",
        f"umount {at}",
        "tap-ctl destroy -d /dev/tap7",
    ]


@works(VMDISK, "delete")
async def _delete_disk(s: Stage) -> None:
    image = await with_image(s)
    await s.call()
    assert not image.exists()
    assert s.path not in await on_vm(s, "list_disks")
    assert "UnknownObject" in await s.it.name_of_error(s.it.get(s.path, "mode", VMDISK.name))


@works(VMDISK, "generate_crypto_key", "generate_crypto_key_in")
async def _key(s: Stage) -> None:
    image = await with_image(s)
    if s.method.name == "generate_crypto_key":
        await s.call(512)
        folder = s.file("/config/platform-crypto-keys")
    else:
        await s.call(512, "/keys")
        folder = s.file("/keys")
    key = folder / "some,aes-xts-plain,512.key"
    assert (key.stat().st_size, key.stat().st_mode & 0o777) == (64, 0o600)
    assert f"vhd-util key -n {image} -k {key} -s" in s.asked()
    key.unlink()


async def image_there(s: Stage) -> None:
    await with_image(s)


async def entry_gone(s: Stage) -> None:
    await s.it.db("rm", f"/vm/{s.uuid}/config/disk/{s.path.rpartition('/')[2]}")
    await s.it.db("rm", f"/vm/{s.uuid}/config/nic/{s.path.rpartition('/')[2]}")


async def no_vhd(s: Stage) -> None:
    await s.it.call(s.path, VMDISK.name, "attach_phy", "s", "/dev/null")


async def mounted(s: Stage) -> None:
    await with_image(s)
    await s.it.call(s.path, VMDISK.name, "mount", "sb", "/mnt", True)


async def image_and_broken_programs(s: Stage) -> None:
    await with_image(s)
    s.break_programs()


async def key_there(s: Stage) -> None:
    await with_image(s)
    s.file("/keys/some,aes-xts-plain,256.key").touch()


async def keyed(s: Stage) -> None:
    await with_image(s)
    (s.it.stand_ins / "keyed").touch()


KEY_FAULTS = (("207:", no_vhd, 256), ("keysize cannot be 128", image_there, 128))

faults(
    VMDISK,
    attach_vhd=(
        fault("not a path for a disk", "/a:b"),
        fault("not a path for a disk", ""),
        lost("206:", "/a", given=entry_gone),
    ),
    attach_phy=(fault("not a path for a disk", "/a\nb"), lost("206:", "/a", given=entry_gone)),
    mount=(
        lost("206:", "/mnt", True, given=entry_gone),
        fault("207:", "/mnt", True, given=no_vhd),
        fault("dirpath cannot be 'mnt'", "mnt", True, given=image_there),
        fault("mounted already", "/mnt", True, given=mounted),
        fault("223:IO error", "/mnt", True, given=image_and_broken_programs),
    ),
    umount=(
        lost("206:", given=entry_gone),
        fault("207:", given=no_vhd),
        fault("is not mounted", given=image_there),
    ),
    delete=(lost("206:", given=entry_gone),),
    generate_crypto_key=(
        lost("206:", 256, given=entry_gone),
        *(fault(text, size, given=given) for text, given, size in KEY_FAULTS),
        fault("239:", 256, given=keyed),
    ),
    generate_crypto_key_in=(
        lost("206:", 256, "/keys", given=entry_gone),
        *(fault(text, size, "/keys", given=given) for text, given, size in KEY_FAULTS),
        fault("dirpath cannot be 'keys'", 256, "keys"),
        fault("is no folder for keys", 256, "/nonesuch", given=image_there),
        fault("238:", 256, "/keys", given=key_there),
        fault("239:", 256, "/keys", given=keyed),
    ),
)


# Network cards


@works(VMNIC, "delete")
async def _delete_nic(s: Stage) -> None:
    await s.call()
    assert s.path not in await on_vm(s, "list_nics")
    assert not await s.it.db("exists", f"/vm/{s.uuid}/config/nic/{s.path.rpartition('/')[2]}")


faults(VMNIC, delete=(lost("222:", given=entry_gone),))
