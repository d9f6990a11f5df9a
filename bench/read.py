"""Events read back as the values they were: the whole log, one stream, and an account's state from nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from bench import bare
from bench.append import Events, opened
from bench.bank import AMOUNT, Account, AccountOpened, MoneyDeposited, bank
from bench.harness import Bench, Row, Run, Sample, Sides, alone, at_least, at_most, check, repeatedly
from framework import Application, PostgresEventStore, SnapshotEvery
from framework.codec import Codec
from framework.evolution import EventTypes
from framework.journal import Journal
from framework.store.protocol import StreamWrite

LOG: Final = 100_000
STREAM: Final = 10_000
PAGES: Final = (1_000, 5_000)
"""Rows that bare asyncpg reads at once: whichever is better for it."""

ACCOUNT: Final = "a"

AFTER_SNAPSHOT: Final = 50
"""Events of the stream that its snapshot does not hold."""


async def fill(store: PostgresEventStore, streams: Sequence[str], each: int, *, there: int = 0) -> None:
    """Append events to every one of *streams*, of which there are so many already, until there are *each*."""
    events, written = Events(), there
    while written < each:
        number = min(1_000, each - written)
        for stream in streams:
            await store.append((StreamWrite(stream, written, tuple(events.one() for _ in range(number))),))
        written += number


def journal_of(store: PostgresEventStore) -> Journal:
    return Journal(store, Codec(), EventTypes([AccountOpened, MoneyDeposited]))


async def read_log(journal: Journal) -> int:
    """Read and decode all events of the log; return how many there were."""
    after = read = 0
    while True:
        page = await journal.store.read_log(after=after)
        read += len([journal.record(stored) for stored in page.events])
        if page.looked_to >= page.head:
            return read
        after = page.looked_to


async def read_stream(journal: Journal, stream: str) -> int:
    """Read and decode all events of *stream*; return how many there were."""
    read = 0
    while stored := await journal.read_stream(stream, after=read):
        read += len([journal.record(each) for each in stored])
    return read


@asynccontextmanager
async def _read_log(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with opened(bench) as store, bench.connection(store.namespace) as connection:
        number = bench.count(LOG)
        await fill(store, [f"account-{each}" for each in range(100)], -(-number // 100))
        journal = journal_of(store)
        head = await store.head()

        async def ours() -> int:
            read = await read_log(journal)
            check("events", read, head)
            return read

        def theirs(page: int) -> Run:
            async def run(seconds: float) -> Sample:
                return await repeatedly(seconds, lambda: bare.read_log(connection, page))

            return run

        yield Sides(lambda seconds: repeatedly(seconds, ours), {_by(page): theirs(page) for page in PAGES})


@asynccontextmanager
async def _read_stream(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with opened(bench) as store, bench.connection(store.namespace) as connection:
        number = bench.count(STREAM)
        await fill(store, [ACCOUNT, "account-b"], number)
        journal = journal_of(store)

        async def ours() -> int:
            read = await read_stream(journal, ACCOUNT)
            check("events", read, number)
            return read

        def theirs(page: int) -> Run:
            async def run(seconds: float) -> Sample:
                return await repeatedly(seconds, lambda: bare.read_stream(connection, ACCOUNT, page))

            return run

        yield Sides(lambda seconds: repeatedly(seconds, ours), {_by(page): theirs(page) for page in PAGES})


@asynccontextmanager
async def _cold_load(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with bench.schema() as schema:
        store = PostgresEventStore(bench.dsn, schema=schema)
        async with bank(store) as application, bench.connection(schema) as connection:
            stream = f"account-{ACCOUNT}"
            number = bench.count(STREAM)
            await fill(store, [stream], number)

            async def load(_: int, __: int) -> None:
                state = await application.state(Account, ACCOUNT)
                check("balance", state.balance, AMOUNT * number)

            def theirs(page: int) -> Run:
                async def read(_: int, __: int) -> None:
                    check("events", await bare.read_stream(connection, stream, page), number)

                return lambda seconds: alone(seconds, read)

            yield Sides(lambda seconds: alone(seconds, load), {_by(page): theirs(page) for page in PAGES})


@asynccontextmanager
async def _cold_load_snapshot(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with bench.schema() as schema:
        stores = [PostgresEventStore(bench.dsn, schema=schema) for _ in range(2)]
        # Saved by hand, and never by itself.
        async with bank(stores[0], SnapshotEvery(STREAM)) as shortened, bank(stores[1]) as whole:
            stream = f"account-{ACCOUNT}"
            number = bench.count(STREAM)
            saved = max(number - AFTER_SNAPSHOT, 1)
            await fill(stores[0], [stream], saved)
            check("version saved", await shortened.snapshot(Account, ACCOUNT), saved)
            await fill(stores[0], [stream], number, there=saved)

            def loading(application: Application) -> Run:
                async def load(_: int, __: int) -> None:
                    check("balance", (await application.state(Account, ACCOUNT)).balance, AMOUNT * number)

                return lambda seconds: alone(seconds, load)

            yield Sides(loading(shortened), {"without a snapshot": loading(whole)})


def _by(page: int) -> str:
    return f"bare asyncpg and JSON, pages of {page:,}"


ROWS: Final[Sequence[Row]] = (
    Row("read_log", "events/s", at_least(0.4), _read_log),
    Row("read_stream", "events/s", at_least(0.4), _read_stream),
    Row("cold_load", "ms", at_most(2.5), _cold_load),
    Row("cold_load_snapshot", "ms", at_most(0.1), _cold_load_snapshot),
)
