# SPDX-License-Identifier: GPL-2.0-or-later
"""A program `viptables` that keeps its rules in a file: what OpenXT's does with a kernel that has v4v.

Run as a program it is that; imported, it puts itself into a folder.  Source: OpenXT v4v, 2015.
"""

import getopt
import sys
from dataclasses import dataclass
from pathlib import Path

FIELDS = ("in", "port-in", "out", "port-out", "verdict")


@dataclass(frozen=True)
class Viptables:
    """The program in a folder of its own."""

    folder: Path

    def install(self) -> None:
        program = self.folder / "viptables"
        program.write_text(f"#!{sys.executable} -ISE\n" + Path(__file__).read_text())
        program.chmod(0o755)

    def remove(self) -> None:
        (self.folder / "viptables").unlink()

    def commands(self) -> list[str]:
        """What it was asked for since `forget`, without the questions."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line != "-L"]

    def forget(self) -> None:
        (self.folder / "log").unlink(missing_ok=True)

    def table(self) -> list[str]:
        """Its rules as `-L` shows them, without numbers."""
        table = self.folder / "table"
        return [shown(line.split()) for line in table.read_text().splitlines()] if table.exists() else []

    def fail_on(self, words: str) -> None:
        """Exit with 1 when a command has these words; empty: never."""
        (self.folder / "fail").write_text(words)


def shown(rule: list[str]) -> str:
    source, source_port, target, target_port, verdict = rule
    return f"{verdict} {source}:{source_port} -> {target}:{target_port}"


def main(folder: Path, words: list[str]) -> int:
    with (folder / "log").open("a") as log:
        log.write(" ".join(words) + "\n")
    failing = folder / "fail"
    if failing.exists() and failing.read_text() and failing.read_text() in " ".join(words):
        sys.stderr.write("viptables: told to fail\n")
        return 1
    table = folder / "table"
    rules = [line.split() for line in table.read_text().splitlines()] if table.exists() else []
    long = ["dom-in=", "dom-out=", "port-in=", "port-out=", "jump="]
    found, rest = getopt.gnu_getopt(words, "AI:LDFd:e:p:q:j:", long)
    options = dict(found)
    rule = [options.get(f"--{name}", "*") for name in ("dom-in", "port-in", "dom-out", "port-out")]
    rule.append(options.get("-j", ""))
    if "-L" in options:
        for number, line in enumerate(rules, 1):
            sys.stdout.write(f"{number} : {shown(line)}\n")
        return 0
    if "-F" in options:
        rules = []
    elif "-A" in options or "-I" in options:
        if rule[-1] not in ("ACCEPT", "REJECT"):
            return 1
        rules.insert(int(options.get("-I", len(rules) + 1)) - 1, rule)
    elif "-D" in options and not rest:
        same = [line for line in rules if line[:4] == rule[:4]]
        if same:
            rules.remove(same[0])
    else:
        return 1
    table.write_text("".join(" ".join(line) + "\n" for line in rules))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]).parent, sys.argv[1:]))
