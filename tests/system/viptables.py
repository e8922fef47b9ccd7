# SPDX-License-Identifier: GPL-2.0-or-later
"""The stand-in for viptables (`daemons/viptables.py`) in a folder of its own, and what it was asked."""

import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(__file__).parent / "daemons/viptables.py"


@dataclass(frozen=True)
class Viptables:
    folder: Path

    def install(self) -> None:
        program = self.folder / "viptables"
        program.write_text(f"#!{sys.executable} -ISE\n{PROGRAM.read_text()}")
        program.chmod(0o755)

    def remove(self) -> None:
        (self.folder / "viptables").unlink()

    def commands(self) -> list[str]:
        """What it was asked for since `forget`, without the questions."""
        return [line for line in self._lines("log") if line != "-L"]

    def forget(self) -> None:
        (self.folder / "log").unlink(missing_ok=True)

    def table(self) -> list[str]:
        """Its rules as `-L` shows them, without numbers."""
        return [_shown(*line.split()) for line in self._lines("table")]

    def _lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def fail_on(self, words: str) -> None:
        """Exit with 1 when a command has these words; empty: never."""
        (self.folder / "fail").write_text(words)


def _shown(source: str, source_port: str, target: str, target_port: str, verdict: str) -> str:
    return f"{verdict} {source}:{source_port} -> {target}:{target_port}"
