# SPDX-License-Identifier: GPL-2.0-or-later
"""apptool imports appliances on a whole host: real daemons, real qemu-img, real files."""

import asyncio
import gzip
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ovf_house import BIN, DISK, NIC, Shop, disk, shop

from ovf_packages import STREAM, Descriptor, Package, content_of, image, item, package, section

XCI_PVH = (
    '<xci:VirtualMachine xci:ovfId="web" xci:templateId="new-vm-empty"><xci:PropertyOverride>'
    '<xci:Property xci:name="hvm" xci:value="false"/><xci:Property xci:name="kernel" xci:value="{kernel}"/>'
    '<xci:Property xci:name="qemu-dm-path" xci:value=""/>'
    '<xci:Property xci:name="track-dependencies" xci:value="false"/>'
    '<xci:Property xci:name="start-on-boot" xci:value="true"/></xci:PropertyOverride>'
    '<xci:DBEntry xci:key="config/virt-type" xci:value="pvh"/>'
    '<xci:DBEntry xci:section="vm-domstore" xci:key="greeting" xci:value="hello"/>'
)
ADAPTER = (
    '<xci:NetworkAdapter xci:ovfInstanceId="5"><xci:PropertyOverride>'
    '<xci:Property xci:name="wireless-driver" xci:value="true"/></xci:PropertyOverride></xci:NetworkAdapter>'
)
PRODUCT = (
    '<ProductSection ovf:class="org.shop"><Info/><Property ovf:key="port" ovf:type="uint16" ovf:value="80"'
    ' ovf:userConfigurable="true"><Description>Port</Description></Property></ProductSection>'
)


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(tmp_path) as opened:
        yield opened


def kernel(it: Shop) -> Path:
    path = it.desk.places.storage / "vmlinuz"
    path.write_bytes(b"a kernel")
    return path


def two_disks(it: Shop) -> Package:
    """A disk of VMware's kind and one of ours, product properties, an XCI section, a manifest."""
    files = '<File ovf:id="f1" ovf:href="disk%201.vmdk"/><File ovf:id="f2" ovf:href="disk2.vhd"/>'
    disks = (
        f'<Disk ovf:diskId="sys" ovf:fileRef="f1" ovf:capacity="3" ovf:capacityAllocationUnits="byte * 2^20"'
        f' ovf:format="{STREAM}"/>'
        '<Disk ovf:diskId="data" ovf:fileRef="f2" ovf:capacity="4194304" ovf:format="vhd"/>'
    )
    descriptor = Descriptor(
        files=files,
        disks=disks,
        items=Descriptor().items
        + item(3, 6, "ResourceSubType=lsilogic")
        + item(5, 10, "Connection=VM_Network Address=00163E000001")
        + item(7, 17, "HostResource=ovf:/disk/data Parent=3 AddressOnParent=1")
        + item(8, 17, "HostResource=ovf:/disk/sys Parent=3 AddressOnParent=0 Access=1")
        + item(9, 15, "AutomaticAllocation=false"),
        system=PRODUCT,
        hardware=' ovf:transport="iso"',
        xci=section(
            '<xci:Network xci:name="VM Network" xci:clientNetworkId="/wired/0/shared"/>'
            + XCI_PVH.format(kernel=kernel(it))
            + ADAPTER
            + "</xci:VirtualMachine>",
            version="3",
        ),
    )
    stream = image(it.folder, "vmdk", b"from a stream", "3M", "subformat=streamOptimized")
    made = package(
        descriptor, {"disk 1.vmdk": stream, "disk2.vhd": image(it.folder, "vpc", b"from a vhd", "4M")}
    )
    made.members["shop.mf"] = made.manifest("sha1", "{0} ({1}) = {2}\r\n")
    return made


async def test_an_appliance_of_two_disks_is_imported_and_its_vm_starts(it: Shop) -> None:
    result = await it.run("--import", two_disks(it).ova(it.folder / "shop.ova"), "--trusted")
    assert (result.status, result.out) == (0, "")
    assert result.err.endswith("\nOK\n")
    assert await it.does("--list") == "shop\n"
    vm = await it.vm_of("shop")
    found = {name: await it.desk.get(vm, name) for name in ("name", "memory", "vcpus", "start-on-boot")}
    assert found == {"name": "Web server", "memory": 64, "vcpus": 2, "start-on-boot": True}
    first, second, drive = await it.disks(vm)
    assert content_of(await it.desk.get(first, "phys-path", DISK)).startswith(b"from a stream")
    assert content_of(await it.desk.get(second, "phys-path", DISK)).startswith(b"from a vhd")
    assert await it.desk.get(first, "virtual-size-mb", DISK) == 3
    assert [await it.desk.get(disk, "mode", DISK) for disk in (first, second, drive)] == ["r", "w", "r"]
    assert await it.desk.get(drive, "devtype", DISK) == "cdrom"
    assert [await it.desk.get(disk, "enabled", DISK) for disk in (first, drive)] == [True, False]
    (nic,) = await it.desk.vm(vm, "list_nics")
    assert await it.desk.get(nic, "network", NIC) == "/wired/0/shared"
    assert await it.desk.get(nic, "mac", NIC) == "00:16:3e:00:00:01"
    assert await it.desk.get(nic, "wireless-driver", NIC) is True
    assert await it.desk.vm(vm, "get_domstore_key", "greeting") == "hello"
    product = "com.citrix.xenclient.xenmgr.vm.product"
    assert await it.desk.call(vm, product, "get_product_property", "s", "org.shop.port") == "80"
    entry = (await it.appliances())["shop"]
    assert (entry["version"], entry["state"], set(entry["file"].values())) == (
        "3",
        "installed",
        set((await it.paths(vm))[:2]),
    )
    assert entry["disk"] == {"web": {"sys": first, "data": second}}
    await it.desk.set(nic, "enabled", "b", False, NIC)  # the simulated host has no such network
    await it.desk.vm(vm, "start")
    assert await it.desk.until_state(vm, "running") == "running"
    environment = it.desk.places.at(f"/var/lib/ovf/{it.desk.uuid(vm)}-env.iso")
    listed = subprocess.run(["bsdtar", "-xOf", environment, "ovf-env.xml"], check=True, capture_output=True)
    assert b'ovfenv:key="org.shop.port" ovfenv:value="80"' in listed.stdout
    assert "is not stopped" in await it.fails("--remove", "shop")
    await it.desk.vm(vm, "destroy")
    await it.desk.until_state(vm, "stopped")


async def test_a_removed_appliance_leaves_nothing(it: Shop) -> None:
    path = two_disks(it).ova(it.folder / "shop.ova")
    before = await it.state()
    await it.does("--import", path, "--trusted")
    assert await it.state() != before
    assert await it.does("--remove", "shop") == ""
    assert await it.state() == before
    assert await it.fails("--remove", "shop") == "there is no appliance 'shop'"
    assert await it.does("--list") == ""


async def test_verifying_says_ok_and_changes_nothing(it: Shop) -> None:
    path = two_disks(it).ova(it.folder / "shop.ova")
    before = await it.state()
    result = await it.run("--verify", path, "--trusted")
    assert (result.status, result.err.splitlines()[-1]) == (0, "OK")
    assert await it.state() == before


async def test_without_a_word_usage_is_told(it: Shop) -> None:
    for words in ((), ("--help",), ("-h",)):
        result = await it.run(*words)
        assert (result.status, result.out) == (0, "")
        assert result.err.startswith("Usage: apptool")


async def test_a_licence_must_be_accepted(it: Shop) -> None:
    made = package(Descriptor(envelope="<EulaSection><Info/><License>Be nice.</License></EulaSection>"))
    path = made.folder(it.folder / "p")
    before = await it.state()
    for answer in ("n\n", "", "yes\n"):
        assert await it.fails("--import", path, answer=answer) == "license not accepted"
    assert await it.state() == before
    result = await it.run("--import", path, answer="y\n")
    assert result.status == 0
    assert "Be nice." in result.err


async def test_networks_can_be_chosen(it: Shop) -> None:
    made = package(Descriptor(items=item(1, 10, "Connection=VM_Network")))
    await it.does(
        "--import", made.folder(it.folder / "p"), "--network", "VM Network=/wired/1/bridged", "--set-id", "x"
    )
    (nic,) = await it.desk.vm(await it.vm_of("x"), "list_nics")
    assert await it.desk.get(nic, "network", NIC) == "/wired/1/bridged"


# Discs, files, keys, rules


async def test_a_disc_is_copied_and_belongs_to_the_appliance(it: Shop) -> None:
    made = package(
        Descriptor(
            files='<File ovf:id="f" ovf:href="tools.iso"/>', items=item(1, 15, "HostResource=ovf:/file/f")
        ),
        {"tools.iso": b"a disc"},
    )
    await it.does("--import", made.ova(it.folder / "a.ova"))
    (path,) = await it.paths(await it.vm_of("unnamed"))
    assert path == str(it.desk.places.at("/storage/isos/tools.iso"))
    assert Path(path).read_bytes() == b"a disc"
    text = await it.fails("--import", made.ova(it.folder / "b.ova"), "--set-id", "other")
    assert text == f"file {path} already exists and would be overwritten, aborting!"
    await it.does("--remove", "unnamed")
    assert not Path(path).exists()


async def test_files_for_the_dom_store_and_the_environment_are_in_place(it: Shop) -> None:
    made = package(
        Descriptor(
            files='<File ovf:id="f" ovf:href="key.bin"/>',
            system=PRODUCT
            + '<EnvironmentFilesSection><Info/><File ovf:fileRef="f" ovf:path="etc/my.key"/>'
            + "</EnvironmentFilesSection>",
            xci=section(
                '<xci:VirtualMachine xci:ovfId="web"><xci:DomStoreFile xci:fileRef="f"/></xci:VirtualMachine>'
            ),
        ),
        {"key.bin": b"\0key\xff"},
    )
    before = await it.state()
    await it.does("--import", made.ova(it.folder / "a.ova"))
    uuid = it.desk.uuid(await it.vm_of("shop"))
    database = "com.citrix.xenclient.db"
    reply = await it.desk.house.bus.call(
        database, "/", database, "read_binary", "s", (f"/dom-store/{uuid}/key.bin",)
    )
    assert reply[0] == b"\0key\xff"
    document = await it.does("--genenvdoc", uuid)
    assert '<Property ovfenv:key="org.shop.port" ovfenv:value="80"/>' in document
    disc = it.folder / "env.iso"
    assert await it.does("--genenviso", uuid, "--iso", disc) == ""
    listed = subprocess.run(
        ["bsdtar", "-tf", disc], check=True, capture_output=True, text=True
    ).stdout.split()
    assert {"ovf-env.xml", "etc/my.key"} <= set(listed)
    inside = subprocess.run(
        ["bsdtar", "-xOf", disc, "ovf-env.xml"], check=True, capture_output=True, text=True
    )
    assert inside.stdout == document
    await it.does("--remove", "shop")
    assert await it.state() == before


async def test_a_vm_outside_any_appliance_has_no_environment(it: Shop) -> None:
    vm = await it.desk.create()
    uuid = it.desk.uuid(vm)
    expected = f"VM {uuid} does not belong to any appliance"
    assert await it.fails("--genenvdoc", uuid) == expected
    assert await it.fails("--genenviso", uuid, "--iso", it.folder / "x.iso") == expected
    assert await it.fails("--genenvdoc", "nonsense") == (
        "not a uuid: 'nonsense' (expected xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx)"
    )
    assert not (it.folder / "x.iso").exists()


async def test_rules_and_devices_reach_the_vm(it: Shop) -> None:
    inner = (
        "<xci:V4VFirewall><xci:V4VRule>myself -&gt; 0:5555</xci:V4VRule></xci:V4VFirewall>"
        "<xci:RpcFirewall><xci:RpcRule>allow destination com.example.a</xci:RpcRule>"
        "<xci:RpcRule>deny destination com.example.b</xci:RpcRule></xci:RpcFirewall>"
        '<xci:PCIPassthrough><xci:MatchID xci:class="0x0280"/><xci:MatchBDF xci:bdf="0000:00:1b.0"/>'
        "</xci:PCIPassthrough>"
    )
    made = package(
        Descriptor(xci=section(f'<xci:VirtualMachine xci:ovfId="web">{inner}</xci:VirtualMachine>'))
    )
    path = made.ova(it.folder / "a.ova")
    text = await it.fails("--import", path)
    assert "may call services of dom0: allow destination com.example.a" in text
    assert "gets PCI devices: class 0x0280 any:any" in text
    await it.does("--import", path, "--trusted")
    vm = await it.vm_of("shop")
    assert await it.desk.vm(vm, "list_v4v_firewall_rules") == ["myself -> 0:5555"]
    rules = await it.tree(f"/vm/{it.desk.uuid(vm)}/rpc-firewall-rules")
    assert rules == {"0": "allow destination com.example.a", "1": "deny destination com.example.b"}
    found = await it.desk.call(vm, "com.citrix.xenclient.xenmgr.vm.pci", "list_pt_rules")
    assert len(found) == 2


async def test_zip_files_and_compressed_archives_are_unpacked(it: Shop) -> None:
    import zipfile

    made = two_disks(it)
    zipped = it.folder / "zipped.ova"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in made.members.items():
            archive.writestr(f"inner/{name}", data)
    squeezed = it.folder / "squeezed.ova"
    squeezed.write_bytes(gzip.compress(made.ova(it.folder / "plain.ova").read_bytes()))
    for path in (zipped, squeezed):
        await it.does("--import", path, "--trusted", "--set-id", path.stem)
        assert content_of((await it.paths(await it.vm_of(path.stem)))[0]).startswith(b"from a stream")
    assert list(it.desk.places.at("/storage/apptool").iterdir()) == []


# Images apart from their VMs


async def test_images_can_be_imported_first_and_their_vms_later(it: Shop) -> None:
    ova, mapped = two_disks(it).ova(it.folder / "shop.ova"), it.folder / "map"
    await it.does("--import", ova, "--trusted", "--only-disk-images", "--disk-image-map", mapped)
    assert await it.appliances() == {}
    lines = mapped.read_text().splitlines()
    assert [line.partition("=")[0] for line in lines] == ["sys", "data"]
    assert [line.split(" ")[2:] for line in lines] == [["web", "0"], ["web", "1"]]
    await it.does("--import", ova, "--trusted", "--with-existing-disk-images", "--disk-image-map", mapped)
    paths = await it.paths(await it.vm_of("shop"))
    named = [line.partition("=")[2].split(" ")[0] for line in lines]
    assert [str(it.desk.places.at(path)) for path in named] == paths[:2]
    assert content_of(paths[0]).startswith(b"from a stream")


async def test_images_that_were_there_survive_an_import_that_fails(it: Shop) -> None:
    refused = (
        '<xci:StorageDevice xci:ovfInstanceId="7"><xci:PropertyOverride>'
        '<xci:Property xci:name="snapshot" xci:value="dance"/></xci:PropertyOverride></xci:StorageDevice>'
    )
    made = package(
        Descriptor(
            disks=disk("vhd", file=""),
            items=item(7, 17, "HostResource=ovf:/disk/d"),
            xci=section(f'<xci:VirtualMachine xci:ovfId="web">{refused}</xci:VirtualMachine>'),
        )
    )
    ova, mapped = made.ova(it.folder / "a.ova"), it.folder / "map"
    await it.does("--import", ova, "--only-disk-images", "--disk-image-map", mapped)
    before = await it.state()
    words = ("--with-existing-disk-images", "--disk-image-map", mapped)
    assert "snapshot" in await it.fails("--import", ova, *words)
    assert await it.state() == before
    assert len(before[-1]) == 1


async def test_images_stay_out_when_the_map_file_cannot_be_written(it: Shop) -> None:
    ova = two_disks(it).ova(it.folder / "shop.ova")
    before = await it.state()
    words = ("--trusted", "--only-disk-images", "--disk-image-map", it.folder / "no" / "map")
    assert "cannot be written" in await it.fails("--import", ova, *words)
    assert await it.state() == before


# Signatures


async def test_a_signed_package_tells_its_signer_and_a_false_signature_is_refused(it: Shop) -> None:
    made = package(Descriptor())
    made.members["shop.mf"] = made.manifest()
    cert, key, manifest = (it.folder / name for name in ("cert", "key", "mf"))
    manifest.write_bytes(made.members["shop.mf"])
    subprocess.run(
 [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Acme"),
            *("-keyout", key, "-out", cert),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    signed = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", key, manifest], check=True, capture_output=True
    )
    line = f"SHA256(shop.mf)= {signed.stdout.hex()}\n".encode()
    made.members["shop.cert"] = line + cert.read_bytes()
    result = await it.run("--verify", made.ova(it.folder / "a.ova"))
    assert result.status == 0
    assert "signed, 'CN = Acme', whom this host does not trust" in result.err
    made.members["shop.cert"] = line.replace(b"= ", b"= 00") + cert.read_bytes()
    path = made.ova(it.folder / "b.ova")
    assert "the manifest's signature does not fit" in await it.fails("--verify", path)
    assert (await it.run("--verify", path, "--skip-manifest")).status == 0


# First boots


async def test_a_vm_that_installs_itself_must_stop_by_itself(it: Shop) -> None:
    installs = '<InstallSection ovf:initialBootStopDelay="1"><Info/></InstallSection>'
    machine = f"{XCI_PVH.format(kernel=kernel(it))}</xci:VirtualMachine>"
    made = package(Descriptor(system=installs, xci=section(machine)))
    before = await it.state()
    text = await it.fails("--import", made.ova(it.folder / "a.ova"), "--trusted")
    assert text.endswith("did not stop within 1 s of its installation")
    assert await it.state() == before


async def test_a_vm_that_stops_after_its_installation_is_kept(it: Shop) -> None:
    installs = '<InstallSection ovf:initialBootStopDelay="0"><Info/></InstallSection>'
    machine = f"{XCI_PVH.format(kernel=kernel(it))}</xci:VirtualMachine>"
    made = package(Descriptor(system=installs, xci=section(machine)))
    importing = asyncio.create_task(it.run("--import", made.ova(it.folder / "a.ova"), "--trusted"))
    async with asyncio.timeout(40):
        while "_temp_shop" not in await it.appliances() or not (await it.appliances())["_temp_shop"].get(
            "vm"
        ):
            await asyncio.sleep(0.02)
    vm = await it.vm_of("_temp_shop")
    await it.desk.until_state(vm, "running")
    await it.desk.vm(vm, "shutdown")
    result = await importing
    assert (result.status, await it.does("--list")) == (0, "shop\n")
    assert await it.desk.state(vm) == "stopped"


async def test_two_imports_at_once_do_not_meet(it: Shop) -> None:
    made = package(Descriptor(envelope="<EulaSection><Info/><License>Wait.</License></EulaSection>"))
    path = made.ova(it.folder / "a.ova")
    first = subprocess.Popen(
        [BIN / "apptool", "--import", path], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=it.environ
    )
    assert first.stdin is not None
    assert first.stderr is not None
    while b"Wait." not in first.stderr.readline():
        pass
    assert "another apptool is at work" in await it.fails("--import", path)
    first.stdin.write(b"y\n")
    first.stdin.close()
    assert first.wait(30) == 0
    first.stderr.close()
    assert await it.does("--list") == "unnamed\n"
