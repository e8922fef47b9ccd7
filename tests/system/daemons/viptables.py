# SPDX-License-Identifier: GPL-2.0-or-later
"""A program `viptables` that keeps its rules in a file: what OpenXT's does with a kernel that has v4v.

`table`, `log` and `fail` lie beside it.  It imports little: a test runs it a hundred times.
Source: OpenXT v4v, 2015.
"""

import getopt
import sys

FOLDER = sys.argv[0].rpartition("/")[0]
WORDS = sys.argv[1:]
LONG = ["dom-in=", "dom-out=", "port-in=", "port-out=", "jump="]


def read(name):
    try:
        with open(f"{FOLDER}/{name}") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def changed(rules, options, rest):
    """The rules after the command; None for what is no command."""
    rule = [options.get(f"--{name}", "*") for name in ("dom-in", "port-in", "dom-out", "port-out")]
    rule.append(options.get("-j", ""))
    if "-F" in options:
        return []
    if "-D" in options and not rest:
        same = [at for at, line in enumerate(rules) if line[:4] == rule[:4]]
        return [line for at, line in enumerate(rules) if at not in same[:1]]
    if not {"-A", "-I"} & options.keys() or rule[-1] not in ("ACCEPT", "REJECT"):
        return None
    at = int(options.get("-I", len(rules) + 1)) - 1
    return [*rules[:at], rule, *rules[at:]]


def main():
    with open(f"{FOLDER}/log", "a") as log:
        log.write(" ".join(WORDS) + "\n")
    if (words := read("fail")) and words in " ".join(WORDS):
        return "viptables: told to fail"
    options, rest = getopt.gnu_getopt(WORDS, "AI:LDFd:e:p:q:j:", LONG)
    rules = [line.split() for line in read("table").splitlines()]
    if ("-L", "") in options:
        for number, (source, source_port, target, target_port, verdict) in enumerate(rules, 1):
            sys.stdout.write(f"{number} : {verdict} {source}:{source_port} -> {target}:{target_port}\n")
        return 0
    after = changed(rules, dict(options), rest)
    if after is None:
        return "viptables: no such command"
    with open(f"{FOLDER}/table", "w") as table:
        table.writelines(" ".join(rule) + "\n" for rule in after)
    return 0


sys.exit(main())
