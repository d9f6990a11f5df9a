from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.sample_bank.databases import fresh_schema


@pytest.fixture
async def schema(dsn: str) -> AsyncGenerator[str]:
    """Name a schema for the log of one test's bank."""
    async with fresh_schema(dsn) as name:
        yield name
