# SPDX-License-Identifier: GPL-2.0-or-later
"""Which transport keeps v4v."""

import sys
from pathlib import Path

import pytest

from openxt_bus.transport.unix import UnixTransport
from openxt_core.errors import BadRequest, Unavailable
from openxt_core.places import Places
from openxt_rpcproxy.v4v import v4v_transport

PLACES = Places(Path("/nowhere"))


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENXT_HYPERVISOR": "simulated:/x"},
        {"OPENXT_V4V": "unix"},
        {"OPENXT_V4V": "unix", "OPENXT_HYPERVISOR": "libxc"},
    ],
)
def test_a_simulated_host_has_sockets_and_any_host_may_ask_for_them(environ: dict[str, str]) -> None:
    assert isinstance(v4v_transport(environ, PLACES), UnixTransport)


def test_an_unknown_word_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="'argo': neither `vchan` nor `unix`"):
        v4v_transport({"OPENXT_V4V": "argo"}, PLACES)


@pytest.mark.parametrize("environ", [{}, {"OPENXT_HYPERVISOR": "libxc"}, {"OPENXT_V4V": "vchan"}])
def test_a_host_without_the_binding_is_told_what_to_install(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "_xenvchan_cffi", None)
    with pytest.raises(Unavailable, match=r"libxen-dev.*OPENXT_V4V=unix"):
        v4v_transport(environ, PLACES)


def test_a_host_without_xen_is_told_what_is_missing() -> None:
    pytest.importorskip("_xenvchan_cffi", reason="not compiled: native/xenctrl_cffi/build.py")
    if Path("/dev/xen/gntdev").exists():
        pytest.skip("a Xen host")
    with pytest.raises(Unavailable, match="xen-gntdev"):
        v4v_transport({"OPENXT_V4V": "vchan"}, PLACES)
