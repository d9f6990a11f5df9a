"""The PostgreSQL store keeps the contract on the oldest PostgreSQL it is for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from framework import PostgresEventStore, embedded
from framework.store.protocol import EventStore
from framework.testing.store_contract import StoreContract
from tests.plugins.external import find_program

pytestmark = [pytest.mark.external("postgresql-15"), pytest.mark.slow]


@pytest.fixture(scope="session")
async def dsn_15(meet: Callable[[str], Awaitable[None]]) -> AsyncIterator[str]:
    """A server of PostgreSQL 15, which forgets at a power cut."""
    program = find_program("postgresql-15")
    assert program is not None
    with TemporaryDirectory(prefix="framework-tests-") as folder, pytest.MonkeyPatch.context() as environment:
        environment.setenv("FRAMEWORK_PG_BIN", str(program.parent))
        async with embedded.server(Path(folder), durable=False) as dsn:
            environment.undo()  # what other tests start is not for this
            await meet(dsn)
            yield dsn


class TestOnPostgres15(StoreContract):
    @pytest.fixture
    async def store(self, dsn_15: str) -> AsyncIterator[EventStore]:
        async with PostgresEventStore(dsn_15, schema=f"contract_{uuid4().hex[:12]}") as store:
            yield store
