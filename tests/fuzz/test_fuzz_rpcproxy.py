# SPDX-License-Identifier: GPL-2.0-or-later
"""Random and damaged input for everything in rpc-proxy that reads bytes of guests."""

import gc
import logging
import random
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rpcproxy_targets import SEEDS, TARGETS

from effort import effort

MANY = settings(
    max_examples=effort(150, 100_000), deadline=None, suppress_health_check=list(HealthCheck), database=None
)
ROUNDS = effort(300, 20_000)
FLAT_BYTES = 256 * 1024


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def mutated(rng: random.Random, seed: bytes) -> bytes:
    """A few bytes changed, removed, repeated or put in."""
    data = bytearray(seed)
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 if at < len(data):
                data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            case 1:
                del data[at : at + rng.randrange(1, 9)]
            case 2:
                data[at:at] = data[at : at + rng.randrange(1, 40)]
            case _:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
    return bytes(data)


@pytest.mark.proof
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes_do_no_more_than_is_promised(target: str) -> None:
    run = TARGETS[target]

    @MANY
    @given(st.binary(max_size=300) | st.tuples(st.sampled_from(SEEDS[target]), st.integers(0)).map(damaged))
    def fuzz(data: bytes) -> None:
        run(data)

    fuzz()


def damaged(how: tuple[bytes, int]) -> bytes:
    seed, number = how
    return mutated(random.Random(number), seed)


@pytest.mark.proof
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("target", TARGETS)
def test_memory_stays_flat_whatever_comes(target: str) -> None:
    rng, run = random.Random(7), TARGETS[target]

    def rounds(count: int) -> int:
        for _ in range(count):
            run(mutated(rng, rng.choice(SEEDS[target])))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    rounds(ROUNDS // 3)  # what is made once is made now
    tracemalloc.start()
    try:
        before = rounds(ROUNDS // 3)
        assert rounds(ROUNDS) - before < FLAT_BYTES
    finally:
        tracemalloc.stop()
