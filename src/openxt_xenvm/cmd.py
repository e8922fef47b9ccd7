# SPDX-License-Identifier: GPL-2.0-or-later
"""xenvm-cmd: send one task to a VM's monitor, over D-Bus or its UNIX socket, and print the answer.

The monitor knows the task names and the documentation's words (shutdown, restart, status, …).
"""

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Final

from openxt_core.errors import BadRequest, OpenxtError, Unavailable
from openxt_core.ids import Uuid, parse_uuid, xenvm_name
from openxt_core.places import Places

FILE_TASKS = frozenset({"suspend", "restore", "checkpoint"})
"""Their one bare argument is a file, as the documentation writes it."""


MAX_WAIT_S: Final = 1e6


class Refusal(OpenxtError):
    """The monitor's own answer."""


def arguments(task: str, words: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` words.  Raises BadRequest for a word without `=` that means nothing."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            found[key] = value
        elif task in FILE_TASKS and "file" not in found:
            found["file"] = word
        else:
            raise BadRequest(f"{word!r} is not KEY=VALUE")
    return found


def _over_dbus(uuid: Uuid, task: str, given: Mapping[str, str], timeout_s: float) -> str | None:
    from openxt_bus.blocking import BlockingBus, bus_address

    on_session = os.environ.get("XENVMLIB_DBUS_SESSION") == "true"
    with closing(BlockingBus(bus_address(session=on_session), timeout_s)) as bus:
        name, member = xenvm_name(uuid), task.replace("-", "_")
        reply = bus.call(name, "/", name, member, "a{ss}", (dict(given),))
    return str(reply[0]) if reply else None


def _over_socket(uuid: Uuid, task: str, given: Mapping[str, str], timeout_s: float) -> str | None:
    import json
    import socket

    from openxt_xenvm.json_rpc import frame, socket_path

    path = socket_path(Places.of(os.environ), os.environ, uuid)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(path))
            client.sendall(frame(task.replace("_", "-"), given))
            answer = json.loads(b"".join(iter(lambda: client.recv(65536), b"")))
        except (OSError, ValueError) as error:
            raise Unavailable(f"{path}: {error}") from error
    if "error" in answer:
        raise Refusal(answer["error"]["message"])
    return None if answer["result"] is None else str(answer["result"])


def seconds(text: str) -> float:
    """Raises ValueError for what is no time to wait."""
    found = float(text)
    if not (math.isfinite(found) and 0 < found <= MAX_WAIT_S):
        raise ValueError(text)
    return found


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("xenvm-cmd", description="Send a task to the monitor of a VM.")
    made.add_argument("--use-socket", action="store_true", help="UNIX socket instead of D-Bus")
    made.add_argument(
        "--reply-timeout", type=seconds, default=60.0, metavar="SECS", help="how long to wait (60)"
    )
    made.add_argument("uuid", help="of the VM")
    made.add_argument("command", help="`help` lists the commands")
    made.add_argument("arguments", nargs="*", metavar="KEY=VALUE", help="as the command takes them")
    return made


def _ask(found: argparse.Namespace) -> str | None:
    uuid, task = parse_uuid(found.uuid), found.command
    if not task:
        raise BadRequest("the command is empty")
    given = arguments(task, found.arguments)
    if found.use_socket:
        return _over_socket(uuid, task, given, found.reply_timeout)
    return _over_dbus(uuid, task, given, found.reply_timeout)


def main(argv: Sequence[str] | None = None) -> int:
    words = parser()
    words.exit_on_error = False
    try:
        text = _ask(words.parse_args(argv))
    except SystemExit as error:
        return 1 if error.code else 0
    except (argparse.ArgumentError, OpenxtError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if text is not None:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
