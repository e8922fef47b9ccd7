# SPDX-License-Identifier: GPL-2.0-or-later
"""Templates: which there are, what a broken one does, and what may stand in a document."""

from pathlib import Path

import pytest

from openxt_core.errors import BadRequest, IoError
from openxt_core.places import Places
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.templates import Templates, folder_of, parse_document
from openxt_xenmgr.vm.tree import text

SHIPPED = Path(__file__).parents[3] / "templates/default"
ORIGINALS = {
    "new-vm",
    "new-vm-empty",
    "new-vm-linux",
    "new-vm-ndvm",
    "new-vm-sync",
    "new-vm-windows8",
    "new-vm-xp",
    "service-ndvm",
    "service-uivm",
}

OURS = {"new-vm-pv", "new-vm-pvh"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "new-vm").write_text('{"type": "svm", "ui-selectable": "true", "description": "d"}')
    (tmp_path / "child-x.json").write_text("{}")
    (tmp_path / "service-a").write_text('{"uuid": "00000000-0000-0000-0000-00000000000a"}')
    (tmp_path / "service-broken").write_text("{ not json")
    (tmp_path / "service-nameless").write_text("{}")
    return tmp_path


def test_the_nine_of_the_original_and_two_of_ours_are_shipped() -> None:
    assert set(Templates(SHIPPED).tags()) == ORIGINALS | OURS


@pytest.mark.parametrize("name", sorted(ORIGINALS | OURS))
def test_every_shipped_template_can_be_read_and_holds_texts_only(name: str) -> None:
    tree = Templates(SHIPPED).read(name)
    assert text(tree, "config/notify") == "dbus"


@pytest.mark.parametrize("kind", ["pv", "pvh"])
def test_our_templates_need_no_device_model(kind: str) -> None:
    tree = Templates(SHIPPED).read(f"new-vm-{kind}")
    config = VmConfig.of("00000000-0000-0000-0000-00000000000a", tree)
    assert (config.virt_type, config["stubdom"], config["qemu-dm-path"]) == (kind, False, "")
    assert f"new-vm-{kind}" in [entry["template"] for entry in Templates(SHIPPED).for_ui()]


def test_service_templates_are_not_offered_by_name(folder: Path) -> None:
    templates = Templates(folder)
    assert templates.names() == ["child-x", "new-vm"]
    assert templates.children() == ["x"]
    assert templates.for_ui() == [{"template": "new-vm", "description": "d"}]


def test_a_broken_service_template_is_set_aside_and_reported(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert list(Templates(folder).services()) == ["a"]
    assert "service-broken is set aside" in caplog.text
    assert "service-nameless is set aside" in caplog.text


def test_a_missing_template_is_error_223(folder: Path) -> None:
    with pytest.raises(IoError) as missing:
        Templates(folder).read("nonesuch")
    assert missing.value.text.startswith("223:IO error")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", ".hidden"])
def test_a_template_name_cannot_leave_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(BadRequest):
        Templates(folder).read(name)


def test_a_blank_name_is_the_empty_template(folder: Path) -> None:
    assert Templates(folder).read("  ") == {}


def test_no_folder_is_no_templates(tmp_path: Path) -> None:
    assert Templates(tmp_path / "none").tags() == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "malformed JSON"),
        ("[]", "JSON object"),
        ('{"config": {"memory": "lots"}}', "config/memory"),
        ('{"config": {"hvm": "perhaps"}}', "true or false"),
        ('{"os": "beos"}', "linux"),
        ('{"config": {"disk": ["x"]}}', "/config/disk"),
        ('{"config": {"virt-type": "vm86"}}', "virt-type"),
        ('{"uuid": "me"}', "not a uuid"),
        ("[" * 100_000, "malformed JSON"),
    ],
)
def test_a_document_is_refused_with_the_key_and_what_is_expected(content: str, expected: str) -> None:
    with pytest.raises(BadRequest, match=expected):
        parse_document(content, "the document")


def test_blank_documents_are_empty() -> None:
    assert parse_document(" \n", "x") == {}


def test_the_folder_is_chosen_by_environment_then_host_then_checkout(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert folder_of(places, {}) == SHIPPED
    host = tmp_path / "usr/share/xenmgr-1.0/templates/default"
    host.mkdir(parents=True)
    assert folder_of(places, {}) == host
    (tmp_path / "etc").mkdir()
    places.flavour.write_text("shiny\n")
    assert folder_of(places, {}) == host
    shiny = tmp_path / "mine/shiny"
    shiny.mkdir(parents=True)
    assert folder_of(places, {"OPENXT_TEMPLATES": str(tmp_path / "mine")}) == shiny
