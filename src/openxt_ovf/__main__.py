# SPDX-License-Identifier: GPL-2.0-or-later
"""apptool's main: arguments in, one session built and run, an exit status out."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from openxt_bus.blocking import BlockingBus
from openxt_core.errors import OpenxtError
from openxt_core.places import Places
from openxt_ovf.options import request_of
from openxt_ovf.progress import Progress, harmless
from openxt_ovf.session import Session

OK, FAILED = 0, 1
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asks us to end: what was done is taken back first, whatever else is asked meanwhile."""


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for one in ENDING:
        signal.signal(one, signal.SIG_IGN)
    raise Interrupted(signal.Signals(number).name)


def _ask(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()


def main() -> int:
    for one in ENDING:
        signal.signal(one, _interrupt)
    try:
        request = request_of(sys.argv[1:])
        print(Session(request, Places.of(os.environ), Progress(), BlockingBus, _ask).output(), end="")
        return OK
    except BrokenPipeError:
        return FAILED
    except Interrupted as asked:
        print(f"apptool: ended by {asked}", file=sys.stderr)
    except OSError as error:
        print(f"apptool: {error.filename or 'cannot go on'}: {error.strerror}", file=sys.stderr)
    except OpenxtError as error:
        print(f"apptool: {harmless(str(error))}", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
