# SPDX-License-Identifier: GPL-2.0-or-later
"""xec watch: signals as they come, one a line, until it is interrupted.

com.citrix.xenclient.xenmgr.vm_state_changed / "6ba7…" "/vm/6ba7…" "running" 0
"""

from __future__ import annotations

from openxt_bus.codec import DESTINATION, INTERFACE, MEMBER, PATH, SENDER
from openxt_core.errors import Unavailable
from openxt_xec import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from openxt_bus.blocking import BlockingBus
    from openxt_bus.codec import Message
    from openxt_xec.grammar import Request

ANY_PATH = "/"  # the default object: then signals of all objects are meant


def lines(request: Request, bus: BlockingBus) -> Iterator[str]:
    """A line for each signal of the service, below the object, of the interface and name asked for."""
    bus.listen(match_rule(request))
    for message in bus.signals():
        if message.fields.get(DESTINATION):
            continue  # to us alone: the bus tells us our name
        yield json_text.line(about(message)) if request.is_json else text(message)
    raise Unavailable("the bus went away")


def match_rule(request: Request) -> str:
    wanted = {
        "type": "signal",
        "sender": request.service,
        "path_namespace": "" if request.path == ANY_PATH else request.path,
        "interface": request.interface,
        "member": request.names[0].replace("-", "_") if request.names else "",
    }
    return ",".join(f"{key}='{value}'" for key, value in wanted.items() if value)


def about(message: Message) -> dict[str, Any]:
    known = {"sender": SENDER, "path": PATH, "interface": INTERFACE, "member": MEMBER}
    return {**{key: message.fields.get(field, "") for key, field in known.items()}, "args": message.body}


def text(message: Message) -> str:
    one = about(message)
    args = [json_text.line(arg).rstrip("\n") for arg in one["args"]]
    return " ".join([f"{one['interface']}.{one['member']}", one["path"], *args]) + "\n"
