# SPDX-License-Identifier: GPL-2.0-or-later
"""A call that came before, as a plan: texts out of the message, the method, the usual answers.

The twin of native/quick/answers.c, which is used where it was built.
"""

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any, Final

from openxt_bus.heads import HEAD_SIZE, PLAIN_CALL, REPLY_SERIAL, RETURN, read_head

MAX_TEXTS: Final = 2
MAX_SERIAL: Final = 2**32 - 1
_MAX_SHORT: Final = 64 * 1024
_size = Struct("<I").unpack_from


class Plan:
    """How calls that differ in nothing but their texts are carried out and answered.

    `run` is called with that many `texts`.  `returns` is the signature of what it returns; `fields` are the
    bytes of an answer's header fields after the serial that it answers, padded, and `fields_size` is that of
    all, not padded.  `is_there` says whether the object is; None: always.  Where the answer is not one of
    the usual ones `otherwise(data, serial, result, error)` gives it, b"" for one that comes later.
    """

    __slots__ = ("_pack", "_texts", "fields", "fields_size", "is_there", "otherwise", "returns", "run")

    def __init__(
        self,
        run: Callable[..., Any],
        texts: int,
        returns: str,
        fields_size: int,
        fields: bytes,
        is_there: Callable[[], bool] | None,
        otherwise: Callable[[bytes, int, Any, Exception | None], bytes],
    ) -> None:
        if texts > MAX_TEXTS:
            raise ValueError(f"a plan has at most {MAX_TEXTS} texts")
        self.run, self.is_there, self.otherwise = run, is_there, otherwise
        self.returns, self.fields_size, self.fields = returns, fields_size, fields
        self._texts = texts
        self._pack = Struct(f"<6I{len(fields)}s{'I' if returns == 's' else ''}").pack

    def texts_in(self, data: bytes, at: int) -> Sequence[str] | None:
        """Those of a body that begins at `at`; None where it has something else."""
        texts, end = [], len(data)
        for _ in range(self._texts):
            start = (at + 3 & ~3) + 4
            if start >= end:
                return None
            at = start + _size(data, start - 4)[0]
            if at >= end or data[at]:
                return None
            try:
                texts.append(data[start:at].decode())
            except UnicodeDecodeError:
                return None
            at += 1
        return texts if at == end else None

    def usual_answer(self, serial: int, asked: int, result: Any) -> bytes | None:
        """Nothing for a method that returns nothing, a short text for one that returns a text."""
        if not self.returns and result is None:
            return self._pack(RETURN, 0, serial, self.fields_size, REPLY_SERIAL, asked, self.fields)
        if self.returns != "s" or type(result) is not str or "\0" in result:
            return None
        try:
            text = result.encode()
        except UnicodeEncodeError:
            return None
        size = len(text)
        if size >= _MAX_SHORT:
            return None
        head = self._pack(RETURN, size + 5, serial, self.fields_size, REPLY_SERIAL, asked, self.fields, size)
        return head + text + b"\0"


def answer(plans: Mapping[bytes, Plan], data: bytes, serial: int) -> bytes | None:
    """The answer to a call that came before, b"" if it comes later; None for any other message, and for what
    is not one message."""
    if len(data) < HEAD_SIZE:
        return None
    kind, body, asked, size = read_head(data)
    body_at = HEAD_SIZE + size + 7 & ~7
    plan = plans.get(data[HEAD_SIZE : HEAD_SIZE + size]) if kind == PLAIN_CALL else None
    if plan is None or body_at + body != len(data):
        return None
    try:
        texts = plan.texts_in(data, body_at) if plan.is_there is None or plan.is_there() else None
        if texts is None:
            return None
        result = plan.run(*texts)
    except Exception as error:  # noqa: BLE001  (every failure is an answer)
        return plan.otherwise(data, serial, None, error)
    made = plan.usual_answer(serial, asked, result)
    return made if made is not None else plan.otherwise(data, serial, result, None)


def answer_all(
    plans: Mapping[bytes, Plan], data: bytes, at: int, serial: int, give: Callable[[bytes], object]
) -> int:
    """Give the answers to the calls in a row that came before, from `at` on; where they end.

    The first answer has that serial, the next ones those that follow.
    """
    while (size := _size_of_call(data, at)) and (
        made := answer(plans, data[at : at + size], serial)
    ) is not None:
        if made:
            give(made)
        serial = serial % MAX_SERIAL + 1
        at += size
    return at


def _size_of_call(data: bytes, at: int) -> int:
    """What a whole message takes that may have come before; 0 for others, and where its end is missing."""
    if len(data) - at < HEAD_SIZE:
        return 0
    kind, body, _, fields = read_head(data, at)
    size: int = (HEAD_SIZE + fields + 7 & ~7) + body
    return size if kind == PLAIN_CALL and at + size <= len(data) else 0
