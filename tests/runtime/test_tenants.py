"""Many applications in one process, over one database: wholly apart, and at rest they hold next to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from framework import Application, Consistency, EventHandler, PostgresEventStore, Recorded
from framework.store.postgres import Database
from framework.testing import eventually
from tests.runtime.till import Moved, PutIn, Till, tills

LISTENER = {"database", "listener", "listen", "poll", "check", "notify", "presence", "heartbeat", "leases"}
"""The tasks of a database, however many tenants are in it."""


class Takings(EventHandler[Moved]):
    """What a tenant's handler has heard of."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    async def handle(self, event: Recorded[Moved]) -> None:
        self.heard.append(event.data.amount)


@asynccontextmanager
async def tenants(
    dsn: str, *, count: int = 2, max_readers: int = 8, handlers: Sequence[EventHandler[Moved]] = ()
) -> AsyncGenerator[list[Application], None]:
    database = Database(dsn, max_readers=max_readers, max_appenders=1)
    schemas = [f"tenant_{uuid4().hex[:16]}" for _ in range(count)]
    try:
        async with AsyncExitStack() as opened:
            yield [
                await opened.enter_async_context(
                    Application(
                        store=PostgresEventStore(database, schema=schema),
                        router=tills(),
                        handlers=handlers[number : number + 1],
                    )
                )
                for number, schema in enumerate(schemas)
            ]
    finally:
        connection = await asyncpg.connect(dsn)
        try:
            for schema in schemas:
                await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        finally:
            await connection.close()


@pytest.fixture
def takings() -> list[Takings]:
    return [Takings(), Takings()]


async def test_two_applications_over_one_connection_are_wholly_apart(dsn: str, takings: list[Takings]) -> None:
    command_id = uuid4()
    async with tenants(dsn, max_readers=1, handlers=takings) as (one, other):
        for amount in (1, 2, 3):
            await asyncio.gather(
                one.dispatch(PutIn("a", amount), consistency=Consistency.STRONG),
                other.dispatch(PutIn("a", amount * 100), consistency=Consistency.STRONG),
            )
        # The same id at both is two commands, and a repeat is answered as the first of its own.
        at_one, at_other = await asyncio.gather(
            one.dispatch(PutIn("b", 5), command_id=command_id), other.dispatch(PutIn("b", 500), command_id=command_id)
        )
        again = await one.dispatch(PutIn("b", 5), command_id=command_id)
        states = [await each.state(Till, name) for each in (one, other) for name in "ab"]

    assert [state.content for state in states] == [6, 5, 600, 500]
    assert [each.heard[:3] for each in takings] == [[1, 2, 3], [100, 200, 300]]
    assert (again.version, again.position) == (at_one.version, at_one.position) == (1, 4)
    assert at_other.position == 4


async def test_applications_at_rest_hold_no_task(dsn: str) -> None:
    before = {task.get_name() for task in asyncio.all_tasks()}
    async with tenants(dsn, count=10) as applications:

        async def are_at_rest() -> bool:
            return {task.get_name() for task in asyncio.all_tasks()} - before <= LISTENER

        await eventually(are_at_rest)
        await asyncio.gather(*(each.dispatch(PutIn("a", 1)) for each in applications))

        states = [await each.state(Till, "a") for each in applications]

    assert [state.content for state in states] == [1] * 10


async def test_a_tenant_that_closes_leaves_the_others_at_work(dsn: str, takings: list[Takings]) -> None:
    async with tenants(dsn, handlers=takings) as (one, other):
        await one.__aexit__(None, None, None)

        result = await other.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)

        assert result.waited == {"Takings": "handled"}
        await one.__aenter__()
