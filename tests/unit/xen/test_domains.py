# SPDX-License-Identifier: GPL-2.0-or-later
"""Domid ↔ uuid ↔ target, as read from a XenStore."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openxt_core.ids import DOM0, DOM0_UUID, Domid, Uuid
from openxt_xen.domains import domid_of, target_of, uuid_of
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore

UUID = Uuid("6ba7b810-9dad-41d1-80b4-00c04fd430c8")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[XenStore]:
    command = [sys.executable, "-m", "openxt_sim", "--dir", str(tmp_path)]
    environ = os.environ | {"OPENXT_ROOT": str(tmp_path)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        client = await XenStore.connect(str(tmp_path / "xenstored"))
        yield client
        client.close()
        process.terminate()


async def test_a_domain_has_the_uuid_of_its_vm(store: XenStore) -> None:
    await store.write(paths.vm_link(Domid(5)), f"/vm/{UUID.upper()}")
    assert await uuid_of(store, Domid(5)) == UUID
    assert await domid_of(store, UUID) == 5


async def test_domain_0_has_the_uuid_of_zeros(store: XenStore) -> None:
    assert await uuid_of(store, DOM0) == DOM0_UUID


@pytest.mark.parametrize("link", [None, "", "/vm/", "/vm/nonsense", str(UUID), f"/vss/{UUID}"])
async def test_a_domain_without_a_vm_has_no_uuid(store: XenStore, link: str | None) -> None:
    if link is not None:
        await store.write(paths.vm_link(Domid(5)), link)
    assert await uuid_of(store, Domid(5)) is None


async def test_a_vm_that_does_not_run_has_no_domain(store: XenStore) -> None:
    await store.mkdir("/local/domain/odd")
    assert await domid_of(store, UUID) is None


async def test_while_a_vm_restarts_its_newer_domain_is_meant(store: XenStore) -> None:
    for domid in (9, 10):
        await store.write(paths.vm_link(Domid(domid)), f"/vm/{UUID}")
    assert await domid_of(store, UUID) == 10


async def test_a_stub_domain_has_a_target(store: XenStore) -> None:
    await store.write(paths.target(Domid(6)), "5")
    await store.write(paths.target(Domid(7)), "five")
    assert [await target_of(store, Domid(domid)) for domid in (6, 7, 8)] == [5, None, None]
