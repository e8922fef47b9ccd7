# SPDX-License-Identifier: GPL-2.0-or-later
"""How a call that came before is answered: the same by the module in C and by the one in Python."""

import gc
import itertools
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from dbus_fast import Message, MessageType
from hypothesis import given, settings
from hypothesis import strategies as st

from effort import effort
from keepers import KEEPERS, keeper
from openxt_bus import message as codec
from openxt_bus.heads import HEAD_SIZE

SERIAL, ASKED = 77, 1234
FIELDS_SIZE, FIELDS = codec.return_fields(":1.5", "s")
NO_FIELDS_SIZE, NO_FIELDS = codec.return_fields(":1.5", "")


@pytest.fixture(params=KEEPERS)
def quick(request: pytest.FixtureRequest) -> SimpleNamespace:
    return keeper(request.param)


def call(
    *texts: str, serial: int = ASKED, signature: str | None = None, body: list[Any] | None = None
) -> bytes:
    """As the bus passes it on."""
    message = Message(
        destination=":1.9",
        path="/a/b",
        interface="a.b",
        member="c",
        signature="s" * len(texts) if signature is None else signature,
        body=list(texts) if body is None else body,
        serial=serial,
        sender=":1.5",
    )
    return bytes(message._marshall(False))


def key_of(data: bytes) -> bytes:
    size = int.from_bytes(data[12:16], "little")
    return data[HEAD_SIZE : HEAD_SIZE + size]


@dataclass
class Desk:
    """A method, what it was called with, and what was left to others."""

    result: Callable[[], Any] = lambda: "answer"
    called: list[tuple[str, ...]] = field(default_factory=list)
    left: list[tuple[bytes, int, Any, Any]] = field(default_factory=list)

    def run(self, *texts: str) -> Any:
        self.called.append(texts)
        return self.result()

    def otherwise(self, data: bytes, serial: int, result: Any, error: Exception | None) -> bytes:
        self.left.append((data, serial, result, error))
        return b"otherwise"

    def plans(
        self, module: SimpleNamespace, like: bytes, texts: int = 1, returns: str = "s", is_there: Any = None
    ) -> dict[bytes, Any]:
        fields = (FIELDS_SIZE, FIELDS) if returns else (NO_FIELDS_SIZE, NO_FIELDS)
        plan = module.Plan(self.run, texts, returns, *fields, is_there, self.otherwise)
        return {key_of(like): plan}


def answers(
    module: SimpleNamespace, plans: dict[bytes, Any], data: bytes, at: int = 0
) -> tuple[int, list[bytes]]:
    given: list[bytes] = []
    return module.answer_all(plans, data, at, SERIAL, given.append), given


# Usual calls


@pytest.mark.parametrize(
    "texts", [(), ("",), ("abc",), ("ü" * 7,), ("", ""), ("abc", "de"), ("x" * 9999, "y")]
)
def test_texts_arrive_and_the_answer_is_a_message(quick: SimpleNamespace, texts: tuple[str, ...]) -> None:
    data, desk = call(*texts), Desk()
    plans = desk.plans(quick, data, len(texts))
    at, (made,) = answers(quick, plans, data)
    assert at == len(data)
    assert desk.called == [texts]
    message = codec.parse_message(made)
    assert (message.message_type, message.reply_serial, message.serial) == (
        MessageType.METHOD_RETURN,
        ASKED,
        SERIAL,
    )
    assert (message.destination, message.signature, message.body) == (":1.5", "s", ["answer"])
    assert not codec.expects_reply(message)


@given(text=st.text(), result=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_goes_in_and_out(text: str, result: str) -> None:
    text = text.replace("\0", "").encode(errors="replace").decode()
    for module in map(keeper, KEEPERS):
        data, desk = call(text), Desk(lambda: result)
        _, (made,) = answers(module, desk.plans(module, data), data)
        assert desk.called == [(text,)]
        assert codec.parse_message(made).body == [result]


def test_a_method_that_returns_nothing_is_answered_without_a_body(quick: SimpleNamespace) -> None:
    data, desk = call("a"), Desk(lambda: None)
    _, (made,) = answers(quick, desk.plans(quick, data, returns=""), data)
    message = codec.parse_message(made)
    assert (message.reply_serial, message.signature, message.body) == (ASKED, "", [])


def test_calls_in_a_row_have_answers_with_serials_in_a_row(quick: SimpleNamespace) -> None:
    data, desk = call("a"), Desk()
    plans = desk.plans(quick, data)
    stream = b"".join(call(text, serial=number) for number, text in enumerate(("a", "bc", "def"), 1))
    at, made = answers(quick, plans, b"?" * 8 + stream + call(), at=8)
    assert at == 8 + len(stream)
    messages = [codec.parse_message(one) for one in made]
    assert [(one.reply_serial, one.serial) for one in messages] == [
        (1, SERIAL),
        (2, SERIAL + 1),
        (3, SERIAL + 2),
    ]
    given: list[bytes] = []
    quick.answer_all(plans, stream, 0, 2**32 - 1, given.append)
    assert [codec.parse_message(one).serial for one in given] == [2**32 - 1, 1, 2]


# Others


class Odd(str):
    """No text as D-Bus has it."""


UNUSUAL = ["a\0b", "\ud800", "x" * 64 * 1024, 5, None, ("a",), Odd("a")]


@pytest.mark.parametrize("result", UNUSUAL, ids=range(len(UNUSUAL)))
def test_what_is_no_usual_answer_is_left_to_others(quick: SimpleNamespace, result: Any) -> None:
    data, desk = call("a"), Desk(lambda: result)
    assert answers(quick, desk.plans(quick, data), data) == (len(data), [b"otherwise"])
    assert desk.left == [(data, SERIAL, result, None)]


@pytest.mark.parametrize(("returns", "result"), [("as", "a"), ("", "a"), ("i", 5), ("ss", ("a", "b"))])
def test_answers_of_other_types_are_left_to_others(quick: SimpleNamespace, returns: str, result: Any) -> None:
    data, desk = call("a"), Desk(lambda: result)
    assert answers(quick, desk.plans(quick, data, returns=returns), data) == (len(data), [b"otherwise"])
    assert desk.left == [(data, SERIAL, result, None)]


def test_failures_are_left_to_others_and_what_ends_the_program_passes(quick: SimpleNamespace) -> None:
    def fail(error: BaseException) -> Any:
        raise error

    data, error = call("a"), ValueError("why")
    desk = Desk(lambda: fail(error))
    assert answers(quick, desk.plans(quick, data), data) == (len(data), [b"otherwise"])
    assert desk.left == [(data, SERIAL, None, error)]
    assert error.__traceback__ is not None
    desk = Desk(lambda: fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        answers(quick, desk.plans(quick, data), data)
    desk = Desk()
    assert answers(quick, desk.plans(quick, data, is_there=lambda: fail(error)), data)[1] == [b"otherwise"]
    assert (desk.called, desk.left) == ([], [(data, SERIAL, None, error)])


def test_an_object_that_is_not_there_is_not_called(quick: SimpleNamespace) -> None:
    data, desk = call("a"), Desk()
    there = iter([True, False])
    plans = desk.plans(quick, data, is_there=lambda: next(there))
    assert answers(quick, plans, data * 2)[0] == len(data)
    assert desk.called == [("a",)]


def test_a_table_may_be_emptied_by_the_call_that_came_out_of_it(quick: SimpleNamespace) -> None:
    data, plans = call("a"), dict[bytes, Any]()

    def empty() -> str:
        plans.clear()
        gc.collect()
        return "answer"

    desk = Desk(empty)
    plans.update(desk.plans(quick, data))
    at, made = answers(quick, plans, data * 2)
    assert (at, len(made)) == (len(data), 1)


def test_messages_that_are_no_such_calls_are_passed_over(quick: SimpleNamespace) -> None:
    data, desk = call("a"), Desk()
    plans = desk.plans(quick, data)
    silent = data[:2] + b"\1" + data[3:]  # wants no answer
    others = [
        b"",
        data[:15],
        data[:-1],
        call("a", "b"),
        silent,
        b"B" + data[1:],
        call(signature="i", body=[5]),
    ]
    for other in others:
        assert answers(quick, plans, other) == (0, [])
    assert desk.called == []


@pytest.mark.parametrize("arguments", [(), (1, 2, 3, 4), ({}, "a", 0, 1, print), ({}, b"a", 2, 1, print)])
def test_nonsense_is_refused(arguments: tuple[Any, ...]) -> None:
    quick = keeper("c")
    with pytest.raises((TypeError, ValueError)):
        quick.answer_all(*arguments)
    with pytest.raises(ValueError, match="at most 2"):
        quick.Plan(print, 3, "s", 1, b"", None, print)


@settings(max_examples=effort(2_000, 100_000))
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=2),
    cuts=st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=9)), max_size=4),
    end=st.integers(0, 800),
)
def test_whatever_comes_both_do_the_same(texts: list[str], cuts: list[tuple[int, bytes]], end: int) -> None:
    like = call(*(text.replace("\0", "") for text in texts))
    stream = bytearray(like * 2)
    for at, piece in cuts:  # lengths, texts and heads are hit alike
        stream[at : at + len(piece)] = piece
    data = bytes(stream[:end] if end < 790 else stream)
    told = []
    for module in map(keeper, KEEPERS):
        desk = Desk()
        told.append((answers(module, desk.plans(module, like, len(texts)), data), desk.called, desk.left))
    assert told[0] == told[1]


def test_an_answer_that_comes_later_is_given_to_nobody(quick: SimpleNamespace) -> None:
    class Later(Desk):
        def otherwise(self, *_: object) -> bytes:
            return b""

    data, desk = call("a"), Later(object)
    assert answers(quick, desk.plans(quick, data), data * 2) == (2 * len(data), [])
    assert desk.called == [("a",), ("a",)]


# What it holds on to


def test_a_result_is_as_large_as_it_was(quick: SimpleNamespace) -> None:
    data, result = call("a"), "ü" * 1000
    desk, before = Desk(lambda: result), sys.getsizeof(result)
    assert len(answers(quick, desk.plans(quick, data), data)[1]) == 1
    assert sys.getsizeof(result) == before


def test_memory_stays_flat_and_what_nobody_needs_goes(quick: SimpleNamespace) -> None:
    class Method:
        """In a circle with its plan."""

        def __init__(self, like: bytes) -> None:
            self.results = itertools.cycle([lambda: "answer", lambda: 5, lambda: 1 / 0])
            plan = quick.Plan(self.run, 1, "s", FIELDS_SIZE, FIELDS, None, lambda *_: b"otherwise")
            self.plans = {key_of(like): plan}

        def run(self, _text: str) -> Any:
            return next(self.results)()

    data = call("some text")
    method = Method(data)

    def work(times: int) -> None:
        for _ in range(times):
            answers(quick, method.plans, data * 3 + data[:-1])

    work(500)
    tracemalloc.start()
    try:
        work(50)
        before = tracemalloc.get_traced_memory()[0]
        work(5_000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()
    gone = weakref.ref(method)
    method = Method(data)
    gc.collect()
    assert gone() is None
