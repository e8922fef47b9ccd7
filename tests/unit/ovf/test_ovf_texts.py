# SPDX-License-Identifier: GPL-2.0-or-later
"""The smaller texts of apptool: manifests, hrefs, map files, command lines, the inventory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest, NotSupported
from openxt_ovf import disk_map, inventory
from openxt_ovf.disk_map import Line
from openxt_ovf.hrefs import chunk_names, place_of
from openxt_ovf.inventory import comparison, owned_alone
from openxt_ovf.manifest import Digest, read_certificate, read_manifest
from openxt_ovf.model import File
from openxt_ovf.options import Action, Request, request_of, usage

SHA1, SHA256 = "a" * 40, "B" * 64


@pytest.mark.parametrize(
    "line",
    [
        f"SHA256(a b.vmdk)= {SHA256}",
        f"SHA256 (a b.vmdk) = {SHA256}\r",
        f"sha256(a b.vmdk)={SHA256}",
        f"SHA-256(a b.vmdk)= {SHA256}\n\n",
        f"\ufeffSHA256(a b.vmdk)= {SHA256}",
    ],
)
def test_a_manifest_is_read_in_all_its_spellings(line: str) -> None:
    assert read_manifest(line.encode(), "x.mf") == {"a b.vmdk": Digest("sha256", SHA256.lower())}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "hello",
        f"MD5(a)= {SHA1}",
        "SHA1(a)= 12",
        f"SHA1(a)= {SHA1}\nSHA1(a)= {SHA1[:-1]}b",
        "SHA1(a)= xyz",
    ],
)
def test_a_malformed_manifest_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        read_manifest(text.encode(), "x.mf")


@given(st.binary(max_size=100))
def test_any_bytes_are_a_manifest_or_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read_manifest(data, "x.mf")


def test_a_certificate_file_is_a_signature_and_the_signers_certificate() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
    found = read_certificate(f"SHA256(shop.mf)= 00ff\n{pem}".encode(), "shop.cert")
    assert (found.name, found.algorithm, found.value) == ("shop.mf", "sha256", b"\0\xff")
    assert found.certificate == pem
    for bad in (pem, f"SHA1(shop.mf)= 00f\n{pem}", "SHA1(shop.mf)= 00\n"):
        with pytest.raises(BadRequest):
            read_certificate(bad.encode(), "shop.cert")


@pytest.mark.parametrize(
    ("href", "names"),
    [
        ("a.vmdk", ("a.vmdk",)),
        ("./x/a b.vmdk", ("x/a b.vmdk",)),
        ("a%20b.vmdk", ("a%20b.vmdk", "a b.vmdk")),
        ("100%.vmdk", ("100%.vmdk",)),
        ("caf%C3%A9.vmdk", ("caf%C3%A9.vmdk", "café.vmdk")),
        ("weird:name.vmdk", ("weird:name.vmdk",)),
    ],
)
def test_a_relative_href_is_a_name_as_it_stands_or_decoded(href: str, names: tuple[str, ...]) -> None:
    assert place_of(href).names == names


@pytest.mark.parametrize(
    "href", ["file:/storage/isos/a.iso", "file:///storage/isos/a.iso", "file://localhost/storage/isos/a.iso"]
)
def test_a_file_href_is_a_path_of_the_host(href: str) -> None:
    assert place_of(href).host_path == "/storage/isos/a.iso"


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "%2e%2e/x",
        "%2fetc/passwd",
        ".",
        "file:x",
        "file://other/x",
        "file:/a/../b",
        "a%00b",
    ],
)
def test_an_href_that_leads_out_is_refused(href: str) -> None:
    with pytest.raises(BadRequest):
        place_of(href)


def test_what_is_far_away_is_not_fetched() -> None:
    with pytest.raises(NotSupported, match="is not fetched"):
        place_of("https://example.com/a.vmdk")


@given(st.text())
def test_no_href_names_anything_outside_the_package(href: str) -> None:
    try:
        place = place_of(href)
    except (BadRequest, NotSupported):
        return
    for name in place.names:
        assert not name.startswith("/")
        assert ".." not in name.split("/")


def test_chunks_are_all_there_or_named() -> None:
    file = File("f", "a", chunk_size=5)
    names = ["a.000000001", "a.000000000", "a.txt", "b.000000002"]
    assert chunk_names(file, names) == ["a.000000000", "a.000000001"]
    for missing in ([], ["a.000000001"], ["a.000000000", "a.000000002"]):
        with pytest.raises(BadRequest, match="missing file: a"):
            chunk_names(file, missing)


LINES = st.builds(
    Line,
    image=st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\x85\u2028\u2029"), min_size=1
    ),
    path=st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\x85\u2028\u2029"), min_size=1
    ),
    key_path=st.sampled_from(["", "/a b"]),
    system=st.sampled_from(["", "web", "a%20b"]),
    index=st.none() | st.integers(0, 99),
)


@given(st.lists(LINES))
def test_a_map_file_reads_what_it_writes(lines: list[Line]) -> None:
    assert disk_map.read(disk_map.write(lines)) == lines


def test_a_map_file_is_written_as_the_original_does() -> None:
    text = disk_map.write([Line("one", "/storage/my disk.vhd", "/k", "web", 0), Line("two", "/b")])
    assert text == "one=/storage/my%20disk.vhd /k web 0\ntwo=/b   \n"
    with pytest.raises(BadRequest, match="line 1 is no IMAGEID=PATH"):
        disk_map.read("nothing")


def test_options_may_be_cut_short_and_the_first_of_two_counts() -> None:
    found = request_of(["--imp", "a.ova", "--import=b.ova", "--set-version", "3", "--up", "--trusted"])
    assert (found.action, found.subject, found.version) == (Action.IMPORT, "a.ova", 3)
    assert (found.permitted, found.is_trusted) == (frozenset({"--upgrade"}), True)


def test_actions_have_an_order_and_networks_repeat() -> None:
    assert request_of(["--import", "a", "--list", "--remove", "x"]).action is Action.LIST
    assert request_of(["-h", "--list"]).action is Action.HELP
    assert request_of([]) == Request(None)
    found = request_of(["--network", "a=b=/x", "--network", "c=/y", "--network", "c=/z"])
    assert found.networks == {"a=b": "/x", "c": "/y"}


BAD_LINES = {
    ("--nonsense",): "unknown option --nonsense",
    ("file.ova",): "unknown option file.ova",
    ("--im",): "--import needs FILE",
    ("--disk",): "--disk-image-map needs FILE",
    ("--i", "x"): "unknown option --i",
    ("--list=x",): "--list takes no value",
    ("--set-version", "one"): "--set-version cannot be 'one'",
    ("--genenviso", "x"): "needs --iso FILE",
    ("--only-disk-images",): "need --disk-image-map",
    ("--only", "--with", "--disk=x"): "exclude each other",
    ("--network", "x"): "NAME=/PATH is expected",
}


@pytest.mark.parametrize("words", BAD_LINES)
def test_a_command_line_that_is_none_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest, match=BAD_LINES[words]):
        request_of(words)


def test_the_usage_fits_a_screen_and_names_every_option() -> None:
    lines = usage().splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80


def test_the_inventory_is_read_and_what_is_odd_counts_as_nothing() -> None:
    found = inventory.read(
        {
            "a": {
                "version": "3",
                "state": "installed",
                "file": {"0": "/x", "1": "/y"},
                "vm": {"u": {"id": "web"}},
            },
            "_temp_b": {"version": "x", "file": {"0": "/y"}, "stage": "odd", "vm": "odd"},
            "odd": "text",
        }
    )
    assert set(found) == {"a", "_temp_b"}
    assert (found["a"].version, found["a"].vms, found["_temp_b"].version) == (3, {"u": "web"}, 1)
    assert (found["_temp_b"].id, found["_temp_b"].is_temporary) == ("b", True)
    assert owned_alone(found["a"], found) == ["/x"]


@pytest.mark.parametrize(("installed", "option"), [(1, "--upgrade"), (2, "--reinstall"), (3, "--downgrade")])
def test_replacing_needs_the_option_for_its_direction(installed: int, option: str) -> None:
    assert comparison(installed, 2)[1] == option
