# SPDX-License-Identifier: GPL-2.0-or-later
"""What xenvm refuses, in the numbers that clients know."""

import pytest

from openxt_core.errors import NumberedError, RemoteError
from openxt_xenmgr.links.xenvm import translated

FAILED = "org.freedesktop.DBus.Error.Failed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exception: Not_enough_free_memory(1 KiB)", "101:not enough free memory: 1 KiB"),
        ("exception: Xc.Error(Could not allocate memory for HVM guest)", "101:"),
        ("exception: Vm_bad_state", "102:"),
        ("exception: Vm_shutdown_wrong_reason", "103:"),
        ("exception: Vm_didnt_shutdown", "104:"),
        ("exception: Vm_is_already_created", "105:"),
        ('exception: RequiresMoreCapabilities("no VT-d")', "106:no VT-d"),
        ("exception: Device.Tap2.Mount_failure", "107:"),
        ("exception: Invalid_Mac(x)", "199:Invalid_Mac(x)"),
    ],
)
def test_errors_of_the_monitor_get_their_number(text: str, expected: str) -> None:
    error = translated(RemoteError(FAILED, text))
    assert isinstance(error, NumberedError)
    assert error.text.startswith(expected)


def test_other_words_of_the_monitor_pass_as_they_are() -> None:
    error = RemoteError(FAILED, "failed to put domain into s3")
    assert translated(error) is error
