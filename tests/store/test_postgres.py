"""The PostgreSQL store keeps the contract, in a schema of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from framework.store.postgres import PostgresEventStore
from framework.store.protocol import EventStore
from framework.testing.store_contract import StoreContract


class TestPostgresEventStore(StoreContract):
    @pytest.fixture
    async def store(self, dsn: str) -> AsyncIterator[EventStore]:
        schema = f"contract_{uuid4().hex[:12]}"
        try:
            async with PostgresEventStore(dsn, schema=schema) as store:
                yield store
        finally:
            connection = await asyncpg.connect(dsn)
            try:
                await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            finally:
                await connection.close()
