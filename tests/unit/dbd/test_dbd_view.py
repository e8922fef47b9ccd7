# SPDX-License-Identifier: GPL-2.0-or-later
"""What a caller sees."""

import pytest

from openxt_bus.identity import Caller
from openxt_core.errors import AccessDenied
from openxt_core.ids import DOM0, DOM0_UUID, Domid, Uuid
from openxt_dbd.path import parse
from openxt_dbd.view import place_of

UUID = Uuid("00000000-0000-0000-0000-000000000007")


def test_dom0_sees_the_whole_tree() -> None:
    assert place_of(Caller(DOM0, DOM0_UUID)) == ()


def test_a_guest_sees_its_own_place_only() -> None:
    assert place_of(Caller(Domid(7), UUID)) == ("dom-store", UUID)


@pytest.mark.parametrize("path", ["/../../vm/x", "..", "/dom-store/other/k", "//../"])
def test_no_path_leads_out_of_a_guest_s_place(path: str) -> None:
    assert (place_of(Caller(Domid(7), UUID)) + parse(path))[:2] == ("dom-store", UUID)


@pytest.mark.parametrize("uuid", [None, ""])
def test_a_guest_that_nobody_can_name_is_refused(uuid: Uuid | None) -> None:
    with pytest.raises(AccessDenied, match="failed to resolve domid 7 to uuid"):
        place_of(Caller(Domid(7), uuid))
