"""Many applications in one process, over one database: wholly apart, and at rest they hold next to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import attrs
import pytest

from framework import (
    Application,
    Consistency,
    EventHandler,
    Lifespan,
    PostgresEventStore,
    ProcessManager,
    Recorded,
    Start,
)
from framework.errors import SubsystemFailed
from framework.policies import Defaults
from framework.store.postgres import Database
from framework.store.postgres.listener import Head, Listener
from framework.store.protocol import NewEvent, StreamWrite
from framework.testing import eventually
from tests.runtime.till import Moved, PutIn, Till, tills
from tests.sample_bank.databases import fresh_schema
from tests.store.postgres.hands import LISTENER


class Takings(EventHandler[Moved]):
    """What a tenant's handler has heard of."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    async def handle(self, event: Recorded[Moved]) -> None:
        self.heard.append(event.data.amount)


BONUS = 100


@attrs.frozen
class Bonus(ProcessManager[Moved, PutIn]):
    """What is put in by hand earns a bonus."""

    @classmethod
    def interested(cls, event: Moved) -> Start | None:
        return None if event.amount == BONUS else Start(f"{event.amount}")

    def handle(self, event: Moved) -> Iterator[PutIn]:
        yield PutIn("bonus", BONUS)


@asynccontextmanager
async def tenants(
    dsn: str,
    *,
    count: int = 2,
    max_readers: int = 8,
    handlers: Sequence[EventHandler[Moved]] = (),
    processes: Sequence[type[ProcessManager[Any, Any]]] = (),
    schemas: Sequence[str] = (),
) -> AsyncGenerator[list[Application], None]:
    database = Database(dsn, max_readers=max_readers, max_appenders=1)
    async with fresh_schema(dsn) as name, AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(
                Application(
                    store=PostgresEventStore(database, schema=schema),
                    router=tills(),
                    handlers=handlers[number : number + 1],
                    processes=processes,
                    defaults=Defaults(lifespan=Lifespan(idle_after=timedelta(0))),
                )
            )
            for number, schema in enumerate(schemas or [f"{name}_{number}" for number in range(count)])
        ]


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


async def are_at_rest(before: Collection[str]) -> bool:
    return {task.get_name() for task in asyncio.all_tasks()} - set(before) <= LISTENER | {"relay Bonus"}


async def test_applications_at_rest_hold_no_task(dsn: str) -> None:
    before = {task.get_name() for task in asyncio.all_tasks()}
    async with tenants(dsn, count=10) as applications:
        await eventually(lambda: are_at_rest(before))
        await asyncio.gather(*(each.dispatch(PutIn("a", 1)) for each in applications))

        states = [await each.state(Till, "a") for each in applications]

    assert [state.content for state in states] == [1] * 10


async def test_handlers_and_processes_at_rest_run_no_slot_and_take_up_what_comes(dsn: str) -> None:
    takings = [Takings() for _ in range(5)]
    before = {task.get_name() for task in asyncio.all_tasks()}
    async with tenants(dsn, count=5, handlers=takings, processes=[Bonus]) as applications:
        for amount in (1, 2):
            await asyncio.gather(
                *(each.dispatch(PutIn("a", amount), consistency=Consistency.STRONG) for each in applications)
            )
            await eventually(lambda: are_at_rest(before))

        # The bonus is sent by a process that was at rest, and what it leads to is heard of.
        assert [each.heard for each in takings] == [[1, BONUS, 2, BONUS]] * 5
        held = [(await each.health()).slots for each in applications]

    assert [len(slots) for slots in held] == [2] * 5


def tell_nobody(listener: Listener, head: Head) -> None:
    del listener, head


async def test_what_another_process_appends_wakes_who_is_at_rest(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Takings()
    before = {task.get_name() for task in asyncio.all_tasks()}
    moved = NewEvent(uuid4(), "Moved", 1, b'{"amount": 7}', b"{}", uuid4(), uuid4())
    async with fresh_schema(dsn) as schema, tenants(dsn, schemas=[schema], handlers=[heard]):
        await eventually(lambda: are_at_rest(before))
        monkeypatch.setattr(Listener, "tell", tell_nobody)  # so it finds out by looking
        async with PostgresEventStore(dsn, schema=schema) as elsewhere:
            await elsewhere.append([StreamWrite("till-a", 0, [moved])])

            await eventually(lambda: heard.heard == [7])


async def test_a_tenant_whose_tables_are_gone_fails_alone(dsn: str, takings: list[Takings]) -> None:
    async with (
        fresh_schema(dsn) as name,
        tenants(dsn, schemas=[name, f"{name}_other"], handlers=takings) as (one, other),
    ):
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(f"ALTER TABLE {name}.slots RENAME TO gone")
            # Both are looked at in one statement.
            await connection.execute(
                "UPDATE framework_nodes.changes SET number = number + 1 WHERE starts_with(schema, $1)", name
            )
        finally:
            await connection.close()

        async def has_failed() -> None:
            assert (await one.health()).state == "failed"

        await eventually(has_failed)
        result = await other.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)

        assert result.waited == {"Takings": "handled"}
        assert (await other.health()).is_healthy
        with pytest.raises(SubsystemFailed, match="slots"):  # of the parts that need them, whichever looks first
            await one.__aexit__(None, None, None)


async def test_a_tenant_that_closes_leaves_the_others_at_work(dsn: str, takings: list[Takings]) -> None:
    async with tenants(dsn, handlers=takings) as (one, other):
        await one.__aexit__(None, None, None)

        result = await other.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)

        assert result.waited == {"Takings": "handled"}
        await one.__aenter__()
