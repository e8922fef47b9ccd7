# SPDX-License-Identifier: GPL-2.0-or-later
"""Command line words → what is asked for.  Pure; opens nothing.

The rules of these command lines, which are older than this program:
 - options come before all other words; the first word that does not begin with `-` ends them;
 - a value is a word of its own, and letters are not combined;
 - of an option given twice the first counts;
 - an option that lacks its value at the very end is an error, but for two cases: `-g` asks for all
   properties, and a listing ignores it (shell completion lists for a line that is half typed).
argparse keeps none of these, and costs more time to load than a whole call takes.
"""

from __future__ import annotations

from openxt_core.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

XENMGR = "com.citrix.xenclient.xenmgr"

# What can be asked for: the values of Request.action.  (`enum` would cost 2 ms.)
HELP = "help"
LIST_INTERFACES = "list-interfaces"
LIST_METHODS = "list-methods"
LIST_PROPERTIES = "list-properties"
GET = "get"
SET = "set"
GET_ALL = "getall"
CALL = "call"
INTROSPECT = "introspect"
WATCH = "watch"
COMPLETION = "completion"

LISTINGS = (LIST_INTERFACES, LIST_METHODS, LIST_PROPERTIES)
VERBS = {GET: (1, 1), SET: (2, 2), GET_ALL: (0, 0), WATCH: (0, 1)}
"""First words that are no method, and how many words follow them, at least and at most."""


class UsageError(BadRequest):
    """The words do not make a request."""


class Option:
    """One row of the table of options: its spellings, its key, the names of its values."""

    __slots__ = ("doc", "key", "values", "words")

    def __init__(self, words: str, key: str, values: str, doc: str) -> None:
        self.words = words.split()
        self.key = key
        self.values = values.split()
        self.doc = doc


# fmt: off
OPTIONS = (
    #      words              key              values         help
    Option("-h --help",       HELP,            "",            "print this text"),
    Option("-s --service",    "service",       "NAME",        "bus name to talk to; default: that of xenmgr"),
    Option("-o --object",     "object",        "PATH",        "object to talk to (/)"),
    Option("-n --name",       "name",          "NAME",        "object of the VM of this name, as xec-vm"),
    Option("-i --interface",  "interface",     "NAME",        "interface (the first that has the member)"),
    Option("-g --get",        GET,             "PROP",        "get a property; all of them without PROP"),
    Option("-x --set",        SET,             "PROP VALUE",  "set a property"),
    Option("-t --target-domid", "domid",       "DOMID",       "talk to the bus of this domain"),
    Option("-H --host",       "host",          "[USER@]HOST", "talk to the bus of another machine, by ssh"),
    Option("--session",       "session",       "",            "session bus instead of system bus"),
    Option("--json",          "json",          "",            "print JSON, one value a line"),
    Option("-q --query",      "quiet",         "",            "do not log the call to syslog"),
    Option("--list-interfaces", LIST_INTERFACES, "",          "print names of interfaces"),
    Option("--list-methods",  LIST_METHODS,    "",            "print names of methods"),
    Option("--list-properties", LIST_PROPERTIES, "",          "print names of properties"),
    Option("--completion",    COMPLETION,      "SHELL",       "print a completion script: bash, zsh, fish"),
)
# fmt: on


class Words:
    """A command line taken apart: options in their order with their values, then the other words."""

    __slots__ = ("given", "incomplete", "rest")

    def __init__(self) -> None:
        self.given: list[tuple[Option, Sequence[str]]] = []
        self.incomplete: Option | None = None
        self.rest: Sequence[str] = ()

    def first(self, key: str) -> Sequence[str] | None:
        """The values of an option as first given; None when it is not."""
        return next((values for option, values in self.given if option.key == key), None)

    def text(self, key: str, default: str) -> str:
        values = self.first(key)
        return default if values is None else values[0]

    def require_complete(self, program: str) -> None:
        """Raises UsageError when the last option lacks a value."""
        if self.incomplete is not None:
            option = self.incomplete
            raise UsageError(f"{option.words[0]} needs {' '.join(option.values)}; see {program} --help")


def take_apart(words: Sequence[str], table: Sequence[Option], program: str) -> Words:
    """Raises UsageError for an unknown option."""
    known = {word: option for option in table for word in option.words}
    found = Words()
    at = 0
    while at < len(words) and words[at][:1] == "-":
        option = known.get(words[at])
        if option is None:
            raise UsageError(f"unknown option {words[at]}; see {program} --help")
        values = words[at + 1 : at + 1 + len(option.values)]
        at += 1 + len(option.values)
        if len(values) == len(option.values) or option.key == GET:
            found.given.append((option, values))
        else:
            found.incomplete = option
    found.rest = words[at:]
    return found


class Request:
    """What xec shall do.  `names` are the property and its value, or the method and its arguments."""

    __slots__ = (
        "action", "domid", "host", "interface", "is_json", "is_quiet", "is_session", "is_vm", "names",
        "path", "service",
    )  # fmt: skip

    def __init__(self, words: Words) -> None:
        self.action, self.names = _action(words)
        self.service = words.text("service", XENMGR)
        self.path = words.text("object", "/")
        self.interface = words.text("interface", "")
        self.domid = _domid(words.text("domid", "-1"))
        self.host = _host(words.text("host", ""))
        self.is_vm = words.first("name") is not None
        self.is_json = words.first("json") is not None
        self.is_session = words.first("session") is not None
        self.is_quiet = words.first("quiet") is not None


def request_of(argv: Sequence[str]) -> Request:
    """What the words of an xec command line ask for.  Raises UsageError."""
    return Request(take_apart(argv, OPTIONS, "xec"))


def _action(words: Words) -> tuple[str, Sequence[str]]:
    for action in (HELP, *LISTINGS):
        if words.first(action) is not None:
            return action, ()
    words.require_complete("xec")
    for action in (COMPLETION, GET, SET):
        values = words.first(action)
        if values is not None:
            return (action, values) if values else (GET_ALL, ())
    return _positional(words.rest)


def _positional(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    if not words:
        return INTROSPECT, ()
    verb, names = words[0], words[1:]
    if verb not in VERBS:
        return CALL, (verb.replace("-", "_"), *names)
    fewest, most = VERBS[verb]
    if not fewest <= len(names) <= most:
        takes = f"{fewest} words" if fewest == most else f"at most {most} word"
        raise UsageError(f"{verb} takes {takes}, but {len(names)} were given; see xec --help")
    return verb, names


def _domid(word: str) -> int:
    """Words that are no number mean none, as they always did."""
    return int(word) if word.isascii() and word.isdigit() else -1


def _host(word: str) -> str:
    """Raises UsageError for what ssh would take for an option."""
    if word.startswith("-"):
        raise UsageError(f"{word!r:.60} is no host; see xec --help")
    return word


def usage(title: str, table: Sequence[Option]) -> str:
    """The help text: title line(s), then one line per option."""
    rows = ((", ".join(option.words), " ".join(option.values), option.doc) for option in table)
    lines = (f"  {f'{words} {values}'.rstrip():<27} {doc}" for words, values, doc in rows)
    return "\n".join((title, "", "Options, before any other word:", *lines, ""))
