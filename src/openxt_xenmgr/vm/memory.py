# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's memory and processors as Xen counts them."""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from openxt_xen.hypervisor import Hypervisor, PhysInfo, XenError

log = logging.getLogger(__name__)


class HostMemory:
    """Asks the hypervisor on a worker thread of its own; connects at the first question."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._worker = ThreadPoolExecutor(1, "hypervisor")
        self._hypervisor: Hypervisor | None = None

    async def physinfo(self) -> PhysInfo:
        """Raises XenError (Unavailable) when Xen does not answer."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._physinfo)

    def _physinfo(self) -> PhysInfo:
        from openxt_xen.open import open_hypervisor

        if self._hypervisor is None:
            self._hypervisor = open_hypervisor(self._environ)
        try:
            return self._hypervisor.physinfo()
        except XenError:
            self._hypervisor.close()
            self._hypervisor = None  # connect again the next time
            raise

    def close(self) -> None:
        self._worker.submit(self._close)
        self._worker.shutdown(wait=False)

    def _close(self) -> None:
        if self._hypervisor is not None:
            self._hypervisor.close()
