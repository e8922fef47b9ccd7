# SPDX-License-Identifier: GPL-2.0-or-later
"""xenops' command line: what commands and options are, and words → values.  Pure.

Options have one dash.  What nobody knows is warned of and passed over, as the original did.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openxt_core.errors import BadRequest
from openxt_core.ids import Domid

if TYPE_CHECKING:
    from openxt_xenvm.xenops.session import Session

Read = Callable[[str], Any]
"""Text → value; ValueError for text that is none."""


@dataclass(frozen=True)
class Opt:
    """`read` None: a switch, without a value.  `default` None: it must be given."""

    name: str
    read: Read | None
    default: Any = None

    @property
    def shape(self) -> str:
        text = f"-{self.name}" if self.read is None else f"-{self.name} {self.name.upper()}"
        return text if self.default is None else f"[{text}]"


class Given:
    """The options of one call, read when they are asked for: only what a command uses must be right."""

    def __init__(self, options: Sequence[Opt], words: Mapping[str, str], rest: Sequence[str]) -> None:
        self._options = {option.name: option for option in options}
        self._words = words
        self.rest = tuple(rest)

    def __getitem__(self, name: str) -> Any:
        """Raises BadRequest in the original's words."""
        option = self._options[name]
        if name not in self._words:
            if option.default is None:
                raise BadRequest(f'"{name}" argument is not valid')
            return option.default
        if option.read is None:
            return True
        try:
            return option.read(self._words[name])
        except ValueError:
            raise BadRequest(f'"{name}" argument is not valid') from None

    @property
    def domid(self) -> Domid:
        return Domid(self["domid"])


Handler = Callable[["Session", Given], Coroutine[Any, Any, str]]
"""What is printed; "" prints nothing."""


@dataclass(frozen=True)
class Command:
    name: str
    summary: str
    handler: Handler | None
    options: tuple[Opt, ...] = ()
    aliases: tuple[str, ...] = ()
    why_not: str = ""  # instead of a handler: why it cannot be done here

    @property
    def usage(self) -> str:
        return " ".join((self.name, *(option.shape for option in self.options)))


def number(least: int = 0, most: int = 2**63 - 1) -> Read:
    def read(text: str) -> int:
        value = int(text, 0)
        if not least <= value <= most:
            raise ValueError(text)
        return value

    return read


def one_of(*words: str) -> Read:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return read


def bitmap(text: str) -> frozenset[int]:
    """`0110`: character i is processor i."""
    if not text or text.strip("01"):
        raise ValueError(text)
    return frozenset(cpu for cpu, letter in enumerate(text) if letter == "1")


def text(word: str) -> str:
    if not word:
        raise ValueError(word)
    return word


DEBUG = Opt("debug", None, False)
DOMID = Opt("domid", number(0, 0x7FEF))


def parse(command: Command, words: Sequence[str]) -> tuple[Given, list[str]]:
    """The options, and warnings about what is none.  BadRequest for bytes that XenStore could not keep."""
    if odd := [word for word in words if any("\ud800" <= letter <= "\udfff" for letter in word)]:
        raise BadRequest(f"{odd[0]!r} is not UTF-8")
    options = (*command.options, DEBUG)
    known = {f"-{option.name}": option for option in options}
    found: dict[str, str] = {}
    rest: list[str] = []
    warnings: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        option = known.get(word)
        if option is not None:
            found[option.name] = "" if option.read is None or not left else left.pop(0)
        elif word.startswith("-"):
            warnings.append(f"unknown option {word} is ignored")
        else:
            rest.append(word)
    return Given(options, found, rest), warnings
