# SPDX-License-Identifier: GPL-2.0-or-later
"""How long xenmgr waits for others before it goes on without them.  Pure; seconds.

Hosts with slow or hasty companions, and tests, set others.  Source of the figures: OpenXT xenmgr, 2015.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Each can be set by an environment variable: `answer_s` by XENMGR_ANSWER_S."""

    answer_s: float = 5.0  # until a daemon of others has answered a call
    networks_s: float = 30.0  # until the network daemon, which is there, knows its networks
    agent_answer_s: float = 25.0  # until a guest's agent has taken a request
    agent_s: float = 180.0  # until the guest has done what its agent was asked for

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Deadlines":
        """Raises ValueError for a variable that is not a number."""
        names = {field.name: f"XENMGR_{field.name.upper()}" for field in fields(cls)}
        return cls(**{name: float(environ[key]) for name, key in names.items() if environ.get(key)})
