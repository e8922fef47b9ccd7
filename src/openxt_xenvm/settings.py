# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a monitor waits for what.  Pure; seconds.  Tests and impatient hosts set others."""

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Settings:
    """Each can be set by an environment variable: `acknowledge_s` by XENVM_ACKNOWLEDGE_S."""

    acknowledge_s: float = 30.0  # a guest's first reaction to a shutdown request
    deadline_s: float = 7200.0  # for any task, unless its caller says otherwise
    shutdown_s: float = 1800.0  # until it has shut down
    suspend_s: float = 60.0  # until a guest that has heard it is suspended (libxl's figure)
    short_life_s: float = 10.0  # a guest that ends sooner is not restarted many times in a row
    free_memory_s: float = 64.0  # while Xen still scrubs memory
    free_memory_poll_s: float = 1.0
    backend_s: float = 30.0  # until a backend of dom0 is ready for the guest
    backend_domain_s: float = 1200.0  # of another domain, which may have to boot first
    backend_poll_s: float = 0.05  # what the kernel does not tell of
    unplug_s: float = 30.0  # until a guest gives up a device it is asked for
    closed_s: float = 10.0  # until a backend has let go of a guest
    progress_s: float = 0.5  # between two looks at how far a suspend is
    acpi_poll_s: float = 1.0  # between two looks at a guest's ACPI state or power button
    model_answer_s: float = 10.0  # until a device model has answered a question
    firewall_s: float = 20.0  # until xenmgr's v4v rules for a stub domain stand
    agent_end_s: float = 20.0  # until a dm-agent has ended a domain's models
    model_end_s: float = 10.0  # until one has ended that was told to
    gone_s: float = 30.0  # until a destroyed domain has left Xen's list

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Settings":
        """Raises ValueError for a variable that is not a number."""
        names = {field.name: f"XENVM_{field.name.upper()}" for field in fields(cls)}
        return cls(**{name: float(environ[key]) for name, key in names.items() if environ.get(key)})
