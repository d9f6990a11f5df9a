from __future__ import annotations

import os
import random
from collections.abc import AsyncGenerator

import pytest

from tests.sample_bank.databases import fresh_schema


@pytest.fixture
async def schema(dsn: str) -> AsyncGenerator[str]:
    """Name a schema for the log of one test's bank."""
    async with fresh_schema(dsn) as name:
        yield name


@pytest.fixture
def chance() -> random.Random:
    """What decides when something is killed; FAULT_SEED repeats the decisions of a run that printed it."""
    seed = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"FAULT_SEED={seed}")
    return random.Random(seed)
