"""A schema for each test, and hands to hold the head row with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from framework import PostgresEventStore
from tests.store.postgres.hands import Hands


@pytest.fixture
async def schema(dsn: str) -> AsyncIterator[str]:
    """The name of a schema that is there for one test."""
    name = f"test_{uuid4().hex[:16]}"
    yield name
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    finally:
        await connection.close()


@pytest.fixture
async def store(dsn: str, schema: str) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore(dsn, schema=schema) as store:
        yield store


@pytest.fixture
async def hands(dsn: str, store: PostgresEventStore) -> AsyncIterator[Hands]:
    """A session of one's own in the store's schema."""
    async with Hands.on(dsn, store.namespace) as hands:
        yield hands
