# SPDX-License-Identifier: GPL-2.0-or-later
"""The program that looks into a disk image for xenmgr, in a process and a mount namespace of its own.

Argument: one JSON object, see `Order`.  Prints one JSON object: `{"answer": …}`, or `{"error": TEXT, "kind":
NAME}` with the name of one of our error classes.  Told to stop (SIGTERM) it takes back what it has made.
Not meant to be run by hand; `inspection` starts it.
"""

import hashlib
import json
import os
import signal
import stat
import sys
from dataclasses import asdict, dataclass
from typing import Any

from openxt_core.errors import BadRequest, IoError, OpenxtError
from openxt_xenmgr.host.measurement import measure
from openxt_xenmgr.host.opened import Image, mounted, raw, rooted

READ_SIZE = 1024 * 1024
MAX_COPIED = 1 << 30


@dataclass(frozen=True, slots=True)
class Order:
    """What to do with an image: `sha256` (of its file system), `sha1` (of its bytes), `copy` a file."""

    what: str
    image: Image
    path: str = ""  # copy: of the file in the image
    target: str = ""  # copy: a file of dom0 that exists

    def text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> "Order":
        known = json.loads(text)
        image = known.pop("image")
        return cls(**known, image=Image(**{**image, "key_folders": tuple(image["key_folders"])}))


def carried_out(order: Order) -> str:
    with raw(order.image) as source:
        if order.what == "sha1":
            return sha1_of(source)
        with (
            open(order.target or os.devnull, "wb") as target,
            mounted(source, order.image) as folder,
            rooted(folder),
        ):
            if order.what == "copy":
                return copied(order, target.fileno())
            return measure(b"/", len(os.sched_getaffinity(0)))


def sha1_of(source: str) -> str:
    """Of the whole content, as OpenXT did it in 2015.  Legacy: to know old sums again."""
    digest = hashlib.sha1(usedforsecurity=False)
    with open(source, "rb", buffering=0) as opened:
        while piece := opened.read(READ_SIZE):
            digest.update(piece)
    return digest.hexdigest()


def copied(order: Order, target: int) -> str:
    """Copy a file of the root into `target`.  Links are followed, within the root.  Returns its size."""
    file = os.open(order.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_COPIED:
            raise BadRequest(f"{order.path} in {order.image.words} is no file of 1 GiB at most")
        left = info.st_size
        while left and (done := os.sendfile(target, file, None, min(left, READ_SIZE))):
            left -= done
        if left:
            raise IoError(f"IO error: {order.path} in {order.image.words} ends too early")
        os.fsync(target)
        return str(info.st_size)
    finally:
        os.close(file)


def answer_to(order: Order) -> dict[str, Any]:
    try:
        return {"answer": carried_out(order)}
    except OpenxtError as error:
        return {"error": str(error), "kind": type(error).__name__}
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else order.path
        words = error.strerror or str(error)
        return {"error": f"IO error: {name!r} in {order.image.words}: {words}", "kind": "IoError"}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(json.dumps(answer_to(Order.of(sys.argv[1]))))


if __name__ == "__main__":
    main()
