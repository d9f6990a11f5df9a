"""What pytest finds in every project of the environment: names of fixtures, and nothing behind them until one is used.

A module of its own beside the framework, since to import one inside it is to import the framework.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from framework import PostgresEventStore
    from framework.testing import ManualClock, MemoryApplications
    from framework.testing.postgres import PostgresSchemas


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that a test moves by hand."""
    from framework.testing import ManualClock

    return ManualClock()


@pytest.fixture
def memory_application(manual_clock: ManualClock) -> MemoryApplications:
    """Builds applications that need no database, by the test's `manual_clock`: call it with a router, then open it."""
    from framework.testing import MemoryApplications

    return MemoryApplications(manual_clock)


@pytest.fixture(scope="session")
def postgres_schemas() -> Iterator[PostgresSchemas]:
    """The schemas that `postgres_store` lends, in the database of FRAMEWORK_DSN or in one for this run alone."""
    from framework.testing.postgres import PostgresSchemas

    with PostgresSchemas(given=os.environ.get("FRAMEWORK_DSN") or None) as schemas:
        yield schemas


@pytest.fixture
def postgres_store(postgres_schemas: PostgresSchemas) -> Iterator[PostgresEventStore]:
    """An empty store on PostgreSQL, to be given to an application or opened with `async with`."""
    with postgres_schemas.store() as store:
        yield store
