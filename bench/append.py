"""Appends of one event, as many at a time as there are callers: grouped, bare, alone, and from several processes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import cycle
from typing import Final
from unittest import mock
from uuid import uuid4

from bench import bare, nodes
from bench.bank import deposited
from bench.harness import Bench, Row, Run, Sample, Sides, alone, at_least, at_most, check, connected, steadily
from framework import PostgresEventStore
from framework.clock import new_id
from framework.codec import Codec
from framework.store.postgres import Database, appender, queue
from framework.store.protocol import NewEvent, StreamWrite

CALLERS: Final = 256
BODIES: Final = 1_000

GROUPS: Final = "SELECT count(*) / count(DISTINCT recorded_at)::float8 FROM events WHERE position > $1"
"""Events in a transaction: all of one were recorded at one time."""

VERSIONS: Final = "SELECT stream, count(*), max(version) FROM events WHERE position > $1 GROUP BY stream"


class Events:
    """Makes events to append, with bodies made beforehand: the store is measured, and not the codec."""

    def __init__(self) -> None:
        codec = Codec()
        self._bodies = cycle([codec.encode(deposited()) for _ in range(BODIES)])

    def one(self) -> NewEvent:
        event_id = new_id()
        return NewEvent(event_id, "MoneyDeposited", 1, next(self._bodies), b"{}", event_id, event_id)


async def append_steadily(dsn: str, store: PostgresEventStore, callers: int, seconds: float) -> Sample:
    """Have *callers* append one event after another, each to a stream of its own, and check what is in the log."""
    events, before = Events(), await store.head()
    streams = [f"account-{uuid4()}" for _ in range(callers)]
    turns = [0] * callers

    async def append(caller: int, turn: int) -> None:
        turns[caller] = turn + 1
        (appended,) = await store.append((StreamWrite(streams[caller], turn, (events.one(),)),))
        if appended.version != turn + 1:
            check("version", appended.version, turn + 1)

    sample = await steadily(seconds, callers, append)
    async with connected(dsn, store.namespace) as connection:
        found = {row["stream"]: (row["count"], row["max"]) for row in await connection.fetch(VERSIONS, before)}
    wanted = {stream: (turn, turn) for stream, turn in zip(streams, turns, strict=True)}
    # Others may append to this log meanwhile, to streams of theirs.
    check("events by stream", {stream: found.get(stream) for stream in wanted}, wanted)
    return sample


# The sides -------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(bench: Bench) -> AsyncGenerator[PostgresEventStore, None]:
    """Give an open store with an empty log."""
    async with bench.schema() as schema, PostgresEventStore(bench.dsn, schema=schema) as store:
        yield store


@asynccontextmanager
async def grouped(bench: Bench) -> AsyncGenerator[Run, None]:
    """Give the side that other rows are compared with, too."""
    async with opened(bench) as store:
        yield partial(append_steadily, bench.dsn, store, CALLERS)


def _ungrouped(bench: Bench, connections: int) -> Run:
    async def run(seconds: float) -> Sample:
        # The same code with bounds of one: every append is a transaction of its own.
        database = Database(bench.dsn, max_appenders=connections)
        with mock.patch.object(appender, "AT_ONCE", connections), mock.patch.object(queue, "BATCH_EVENTS", 1):
            async with bench.schema() as schema, PostgresEventStore(database, schema=schema) as store:
                return await append_steadily(bench.dsn, store, CALLERS, seconds)

    return run


@asynccontextmanager
async def _append_grouped(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with grouped(bench) as run:
        yield Sides(run, {f"one by one, {number} connections": _ungrouped(bench, number) for number in (1, 8, 32)})


@asynccontextmanager
async def _append_ceiling(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with opened(bench) as store, AsyncExitStack() as stack:
        table, schema = await stack.enter_async_context(bare.table(bench))
        connections = [await stack.enter_async_context(bench.connection(schema)) for _ in range(appender.AT_ONCE)]
        statements = [await connection.prepare(bare.INSERT_MANY) for connection in connections]
        events = Events()
        batch = 1

        async def ours(seconds: float) -> Sample:
            nonlocal batch
            before = await store.head()
            sample = await append_steadily(bench.dsn, store, CALLERS, seconds)
            async with bench.connection(store.namespace) as connection:
                batch = round(await connection.fetchval(GROUPS, before))
            return sample

        async def theirs(seconds: float) -> Sample:
            before = await connections[0].fetchval("SELECT count(*) FROM bare")

            # To as many streams as ours, one event each in turn: rows that lie side by side in an index cost less.
            streams = [f"account-{uuid4()}" for _ in range(CALLERS)]

            async def insert(lane: int, turn: int) -> None:
                own = streams[lane :: len(statements)]
                places = (divmod(turn * batch + each, len(own)) for each in range(batch))
                await table.insert_many(statements[lane], [(own[n], round_ + 1, events.one()) for round_, n in places])

            sample = await steadily(seconds, len(statements), insert)
            inserted = len(sample.latencies) * batch
            check("rows", await connections[0].fetchval("SELECT count(*) FROM bare"), before + inserted)
            return Sample(sample.value * batch, sample.latencies)

        yield Sides(ours, {"bare asyncpg, the same batches": theirs})


@asynccontextmanager
async def _append_latency(bench: Bench) -> AsyncGenerator[Sides, None]:
    async with opened(bench) as store, AsyncExitStack() as stack:
        table, schema = await stack.enter_async_context(bare.table(bench))
        connection = await stack.enter_async_context(bench.connection(schema))
        yield Sides(partial(_append_alone, store), {BARE_COMMIT: await bare_commits(connection, table)})


BARE_COMMIT: Final = "bare asyncpg, insert and commit"


async def _append_alone(store: PostgresEventStore, seconds: float) -> Sample:
    events, before = Events(), await store.head()
    stream = f"account-{uuid4()}"

    async def append(_: int, turn: int) -> None:
        await store.append((StreamWrite(stream, turn, (events.one(),)),))

    sample = await alone(seconds, append)
    check("head", await store.head(), before + len(sample.latencies))
    return sample


async def bare_commits(connection: bare.Connection, table: bare.Table) -> Run:
    """Return the side of one caller alone who commits one row after the other."""
    statement = await connection.prepare(bare.INSERT_ONE)
    events = Events()

    async def run(seconds: float) -> Sample:
        before = await connection.fetchval("SELECT count(*) FROM bare")
        stream = f"account-{uuid4()}"

        async def insert(_: int, turn: int) -> None:
            await table.insert_one(statement, stream, turn + 1, events.one())

        sample = await alone(seconds, insert)
        check("rows", await connection.fetchval("SELECT count(*) FROM bare"), before + len(sample.latencies))
        return sample

    return run


@asynccontextmanager
async def _append_processes(number: int, bench: Bench) -> AsyncGenerator[Sides, None]:
    async with opened(bench) as store:

        async def appended(processes: int, seconds: float) -> Sample:
            before = await store.head()
            works = [nodes.Work("append", bench.dsn, store.namespace, CALLERS // processes, seconds)] * processes
            done = await nodes.together(works)
            check("head", await store.head(), before + done.count)
            return Sample(done.value)

        yield Sides(partial(appended, number), {"one process": partial(appended, 1)})


ROWS: Final[Sequence[Row]] = (
    Row("append_grouped", "appends/s", at_least(12), _append_grouped),
    Row("append_ceiling", "appends/s", at_least(0.7), _append_ceiling),
    Row("append_latency", "ms", at_most(1.7), _append_latency),
    Row("append_processes_2", "appends/s", at_least(0.8), partial(_append_processes, 2)),
    Row("append_processes_4", "appends/s", at_least(0.8), partial(_append_processes, 4)),
)
