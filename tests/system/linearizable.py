# SPDX-License-Identifier: GPL-2.0-or-later
"""Is there an order in which one caller after the other could have seen what these callers saw?

The search of Wing and Gong (1993): of the operations that nobody's end precedes, try each as the next one;
what has been tried from the same state is not tried again (Lowe, 2017).  A state is a model that can be
copied, run and told apart by its text.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class State(Protocol):
    def dump(self, path: str) -> str: ...


@dataclass(frozen=True)
class Event:
    """One operation of a caller: what it was, what it answered, and when it began and ended."""

    caller: int
    operation: tuple[Any, ...]
    answer: Any
    begin: int
    end: int


def end_states(
    state: State, history: Sequence[Event], run: Callable[[Any, tuple[Any, ...]], Any]
) -> dict[str, State]:
    """The states that orders which fit the history end in, by their text; none: no order fits.

    `run` carries out an operation on a state and gives the answer that is right there.
    """
    found: dict[str, State] = {}
    tried: set[tuple[frozenset[int], str]] = set()
    todo: list[tuple[frozenset[int], State]] = [(frozenset(range(len(history))), state)]
    while todo:
        open_, state = todo.pop()
        if not open_:
            found[state.dump("/")] = state
        first_end = min((history[index].end for index in open_), default=0)
        for index in open_:
            if history[index].begin > first_end:
                continue
            after = copy.deepcopy(state)
            if run(after, history[index].operation) != history[index].answer:
                continue
            rest = (open_ - {index}, after.dump("/"))
            if rest not in tried:
                tried.add(rest)
                todo.append((rest[0], after))
    return found
