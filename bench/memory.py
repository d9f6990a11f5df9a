"""What a live aggregate costs beyond its state."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

from bench.bank import Account, bank, opening
from bench.harness import Bench, Row, Sample, Sides, at_most, check, steadily
from framework import PostgresEventStore

ACCOUNTS: Final = 10_000
CALLERS: Final = 256


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


def _allocated() -> int:
    """Return the bytes that Python's objects take, all of them, whoever made them."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


ROWS: Final[Sequence[Row]] = (Row("actor_memory", "bytes", at_most(4096), _actor_memory),)
