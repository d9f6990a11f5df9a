"""What a live aggregate costs beyond its state, and what a tenant costs that does nothing."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from uuid import uuid4

from bench.bank import Account, bank, opening
from bench.harness import Bench, Row, Sample, Sides, at_most, check, steadily
from framework import PostgresEventStore
from framework.store.postgres import Database

ACCOUNTS: Final = 10_000
TENANTS: Final = 1_000
CALLERS: Final = 256

SETTLING: Final = 1.0
"""Seconds after which what an application does once, when it opens, is over."""


@asynccontextmanager
async def _actor_memory(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with bench.schema() as schema:
        store = PostgresEventStore(bench.dsn, schema=schema)

        async def run(_: float) -> Sample:
            async with bank(store) as application:

                async def act(_: int, __: int) -> None:
                    await application.dispatch(opening(str(uuid4())))

                await steadily(0, CALLERS, act)  # what is made once, for all of them
                before, head = _allocated(), await store.head()
                each = -(-bench.count(ACCOUNTS) // CALLERS)
                sample = await steadily(0, CALLERS, act, at_least_each=each)
                number = len(sample.latencies)
                check("accounts opened", await store.head() - head, number)
                del sample
                return Sample((_allocated() - before) / number - sys.getsizeof(Account()))

        tracemalloc.start()
        try:
            yield Sides(run)
        finally:
            tracemalloc.stop()


@asynccontextmanager
async def _tenant_memory(bench: Bench) -> AsyncGenerator[Sides, None]:
    number = bench.count(TENANTS)
    database = Database(bench.dsn)
    async with AsyncExitStack() as stack:
        schemas = [await stack.enter_async_context(bench.schema()) for _ in range(number)]

        async def run(_: float) -> Sample:
            async with AsyncExitStack() as tenants:
                # The first is open before we count: what it brings along is there once for all of them.
                await tenants.enter_async_context(bank(PostgresEventStore(database, schema=schemas[0])))
                before, tasks = _allocated(), len(asyncio.all_tasks())
                for schema in schemas[1:]:
                    await tenants.enter_async_context(bank(PostgresEventStore(database, schema=schema)))
                await asyncio.sleep(SETTLING)
                check("tasks", len(asyncio.all_tasks()) - tasks <= 0, True)
                return Sample((_allocated() - before) / max(number - 1, 1))

        tracemalloc.start()
        try:
            yield Sides(run)
        finally:
            tracemalloc.stop()


def _allocated() -> int:
    """Return the bytes that Python's objects take, all of them, whoever made them."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


ROWS: Final[Sequence[Row]] = (
    Row("actor_memory", "bytes", at_most(4096), _actor_memory),
    Row("tenant_memory", "bytes", at_most(200_000), _tenant_memory),
)
