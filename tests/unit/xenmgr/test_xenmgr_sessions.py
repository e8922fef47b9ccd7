# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose folders are open, by the table of what is mounted."""

from hypothesis import given
from hypothesis import strategies as st

from openxt_xenmgr.host.sessions import open_sessions

TABLE = """sysfs /sys sysfs rw 0 0
/dev/mapper/a /config/sec/s-0a1b ext3 rw 0 0
/dev/mapper/b /config/sec/s-0a1b ext3 rw 0 0
/dev/mapper/c /config/sec/s-FF ext3 rw 0 0
/config/sec/s-dd /mnt none bind 0 0
/dev/x /config/sec/s- ext3 rw 0 0
/dev/x /config/sec/s-../../etc ext3 rw 0 0
/dev/x /config/sec/s-a/b ext3 rw 0 0
short
"""


def test_users_are_those_whose_folder_is_a_mount_point_each_once() -> None:
    assert open_sessions(TABLE) == ["0a1b", "FF"]


@given(st.text(max_size=200))
def test_no_table_gives_a_program_a_word_that_is_no_hash(table: str) -> None:
    assert all(user.isalnum() and user.isascii() for user in open_sessions(table))


@given(st.lists(st.from_regex(r"\A[0-9a-f]{1,40}\Z"), max_size=5, unique=True))
def test_every_open_folder_is_found(users: list[str]) -> None:
    table = "".join(f"/dev/x /config/sec/s-{user} ext3 rw 0 0\n" for user in users)
    assert open_sessions(table) == users
