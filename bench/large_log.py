"""Whether a log of five million events is as fast as a young one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from bench.append import CALLERS, append_steadily, opened
from bench.harness import Bench, Row, Run, Sides, at_least, repeatedly
from bench.read import fill, journal_of
from framework import PostgresEventStore

LARGE: Final = 5_000_000
SMALL: Final = 100_000
PAGE: Final = 1_000
STRIDE: Final = 7_919
"""Pages apart that are read one after another: a prime, so that all of the log has its turn."""


@asynccontextmanager
async def _filled(bench: Bench, number: int) -> AsyncGenerator[PostgresEventStore, None]:
    async with opened(bench) as store:
        await fill(store, [f"account-{each}" for each in range(100)], -(-bench.count(number) // 100))
        async with bench.connection(store.namespace) as connection:
            await connection.execute("ANALYZE events")
        yield store


@asynccontextmanager
async def _append(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with _filled(bench, LARGE) as large, opened(bench) as empty:
        append = partial(append_steadily, bench.dsn)
        yield Sides(partial(append, large, CALLERS), {"empty log": partial(append, empty, CALLERS)})


def _reading(store: PostgresEventStore, head: int) -> Run:
    journal = journal_of(store)
    pages = max(head // PAGE, 1)
    turn = 0

    async def page() -> int:
        nonlocal turn
        turn += STRIDE
        found = await store.read_log(after=turn % pages * PAGE, limit=PAGE)
        return len([journal.record(stored) for stored in found.events])

    return lambda seconds: repeatedly(seconds, page)


@asynccontextmanager
async def _read(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with _filled(bench, LARGE) as large, _filled(bench, SMALL) as small:
        yield Sides(
            _reading(large, await large.head()),
            {f"log of {SMALL:,}": _reading(small, await small.head())},
        )


ROWS: Final[Sequence[Row]] = (
    Row("large_log_append", "appends/s", at_least(0.77), _append, is_long=True),
    Row("large_log_read", "events/s", at_least(0.77), _read, is_long=True),
)
