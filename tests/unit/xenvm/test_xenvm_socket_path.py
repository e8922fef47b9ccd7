# SPDX-License-Identifier: GPL-2.0-or-later
"""The path of a device model's monitor: one that is too long is told before anything is built."""

from pathlib import Path

from openxt_xenvm.plan.device_model import MAX_SOCKET_BYTES, socket_mistakes


def test_a_path_beyond_what_a_socket_can_have_is_named() -> None:
    assert socket_mistakes(Path("/" + "x" * (MAX_SOCKET_BYTES - 1))) == ()
    (text,) = socket_mistakes(Path("/" + "x" * MAX_SOCKET_BYTES))
    assert "shorten OPENXT_ROOT" in text
