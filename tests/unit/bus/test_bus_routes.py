# SPDX-License-Identifier: GPL-2.0-or-later
"""Patterns of object paths: what fits, with which key, and whether it is there."""

from openxt_bus.routes import Node, locate


def tree() -> Node[str]:
    root: Node[str] = Node("root")
    for pattern in ("/host", "/vm/{vm}", "/vm/{vm}/disk/{disk}", "/vm/special"):
        root.insert(pattern).content = pattern
    return root


def found(path: str, root: Node[str] | None = None) -> tuple[str | None, tuple[str, ...]] | None:
    place = locate(root or tree(), path)
    return (place.node.content, place.key) if place else None


def test_a_literal_path_has_no_key() -> None:
    assert found("/") == ("root", ())
    assert found("/host") == ("/host", ())


def test_the_key_holds_what_the_wild_elements_matched() -> None:
    assert found("/vm/abc") == ("/vm/{vm}", ("abc",))
    assert found("/vm/abc/disk/0") == ("/vm/{vm}/disk/{disk}", ("abc", "0"))


def test_a_literal_element_wins_over_a_wild_one() -> None:
    assert found("/vm/special") == ("/vm/special", ())


def test_the_way_to_an_object_is_a_place_without_content() -> None:
    assert found("/vm") == (None, ())
    assert found("/vm/abc/disk") == (None, ("abc",))


def test_what_no_pattern_fits_is_nowhere() -> None:
    assert found("/hosts") is None
    assert found("/host/x") is None
    assert found("/vm/abc/disk/0/x") is None


def test_an_object_is_there_only_if_all_above_it_are() -> None:
    root = tree()
    vms = {"abc"}
    root.insert("/vm/{vm}").exists = lambda key: key[0] in vms
    root.insert("/vm/{vm}/disk/{disk}").exists = lambda key: key[1] == "0"
    disk, other = locate(root, "/vm/abc/disk/0"), locate(root, "/vm/abc/disk/1")
    assert disk is not None
    assert other is not None
    assert (disk.is_there(), other.is_there()) == (True, False)
    vms.clear()
    assert not disk.is_there()


def test_child_names_are_the_literal_ones_and_the_dynamic_ones_each_once() -> None:
    root = tree()
    vm = root.insert("/vm")
    vm.children = lambda key: ["abc", "special", "def"]
    assert vm.child_names(()) == ["special", "abc", "def"]
    assert root.child_names(()) == ["host", "vm"]
