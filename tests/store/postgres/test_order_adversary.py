"""The log stays in the order of commits, whatever writers do; fifty seeds of what they may do."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import asyncpg
import attrs
import pytest

from framework import PostgresEventStore
from framework.selection import Selection
from framework.store.postgres.database import Database
from tests.plugins.findings import Say
from tests.store.postgres.adversary import (
    BEGINNING,
    END,
    LAST,
    MACHINERY,
    RARE,
    UNKNOWN,
    Handlers,
    Last,
    Process,
    Rare,
    Writers,
    tail_by_prefix,
    tail_by_sql,
    tail_by_subscription,
    tail_by_types,
    tail_by_waiting,
)
from tests.store.postgres.hands import event, write

SEEDS = 50
AT_ONCE = 4
"""Seeds that run side by side: their delays cost the same time."""
COMMITS = 1_000

WANTED = frozenset({RARE, LAST})

COUNTS = """
    SELECT count(DISTINCT xmin::text) AS commits,
           count(*) FILTER (WHERE started < latest) AS overtaken
      FROM (
          SELECT xmin, (data ->> 'started')::bigint AS started,
                 max((data ->> 'started')::bigint) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS latest
            FROM events
      ) AS e
"""

END_ALL = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1"


@attrs.frozen
class Counts:
    """What one seed came to."""

    commits: int
    overtaken: int
    """Transactions that began before another one, and were recorded after it."""
    interruptions: int


async def contend(dsn: str, seed: int) -> Counts:
    """Have everybody write to one log and read it, and compare what they saw with what it came to."""
    chance = Random(seed)
    schema = f"adversary_{seed}_{uuid4().hex[:8]}"
    named = f"{dsn}{'&' if '?' in dsn else '?'}{urlencode({'application_name': schema})}"
    sql: asyncpg.Connection[Any] = await asyncpg.connect(dsn, server_settings={"search_path": schema})
    try:
        async with (
            PostgresEventStore(Database(named, max_readers=2), schema=schema) as one,
            PostgresEventStore(shared := Database(named, max_readers=2), schema=schema) as other,
            Process.reading(one) as process,
            Handlers.running(PostgresEventStore(shared, schema=schema)) as handlers,
        ):
            await sql.execute(MACHINERY)
            writers = Writers(dsn, schema, chance)
            async with asyncio.TaskGroup() as reading:
                whole = [reading.create_task(tail_by_waiting(store, chance)) for store in (one, other)]
                some = [reading.create_task(tail_by_types(store, chance)) for store in (one, other)]
                for tasks, selection in ((whole, Selection()), (some, Selection(WANTED))):
                    tasks.append(reading.create_task(tail_by_subscription(process, selection, chance)))
                alike = [reading.create_task(tail_by_prefix(store, chance)) for store in (one, other)]
                followed = {
                    name: reading.create_task(handlers.follow(types=types, prefix=prefix))
                    for name, types, prefix in (
                        ("all", None, ""),
                        ("rare", (Rare, Last), ""),
                        ("alike", None, BEGINNING),
                    )
                }
                reading.create_task(handlers.handle())
                reading.create_task(tail_by_sql(dsn, schema))
                async with asyncio.TaskGroup() as writing:
                    for number in range(5):
                        writing.create_task(writers.in_the_server(f"server-{number}", times=12, transactions=20))
                    for _ in range(2):
                        writing.create_task(writers.step_by_step(transactions=30))
                    for store, number in ((one, 1), (one, 2), (one, 3), (other, 4), (other, 5), (other, 6)):
                        writing.create_task(writers.through(store, f"store-{number}", appends=40))
                    writing.create_task(writers.interrupt(times=12))
                await one.append([write(END, 0, event(UNKNOWN, type_=LAST))])
            log = (await one.read_log(limit=100_000)).events
        counts = await sql.fetchrow(COUNTS)
    finally:
        await sql.execute(END_ALL, schema)  # after a failure some procedures would run on
        await sql.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await sql.close()

    assert [stored.position for stored in log] == list(range(1, len(log) + 1))
    for task in whole:
        assert task.result() == log
    for task in some:
        assert task.result() == [stored for stored in log if stored.type in WANTED]
    for task in alike:
        assert task.result() == [stored for stored in log if stored.stream.startswith(BEGINNING)]
    positions = {
        "all": [stored.position for stored in log],
        "rare": [stored.position for stored in log if stored.type in WANTED],
        "alike": [stored.position for stored in log if stored.stream.startswith(BEGINNING)],
    }
    assert {name: task.result() for name, task in followed.items()} == positions
    assert handlers.seen == positions
    streams: defaultdict[str, list[int]] = defaultdict(list)
    for stored in log:
        streams[stored.stream].append(stored.version)
    assert all(versions == list(range(1, len(versions) + 1)) for versions in streams.values())
    moments = [stored.recorded_at for stored in log]
    assert moments == sorted(moments)
    recorded = {stored.event_id: stored.position for stored in log}
    assert writers.acknowledged.items() <= recorded.items()
    assert not writers.withdrawn & recorded.keys()
    assert counts is not None
    return Counts(counts["commits"], counts["overtaken"], writers.interruptions)


@pytest.fixture(scope="module")
def tally(say: Say) -> Iterator[list[Counts]]:
    """What all seeds came to, said at the end of the run."""
    counts: list[Counts] = []
    yield counts
    say(
        f"{len(counts)} seeds of the adversary: {sum(each.commits for each in counts):,} commits,"
        f" {sum(each.overtaken for each in counts):,} of them out of start order,"
        f" {sum(each.interruptions for each in counts):,} writers interrupted"
    )


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
async def test_nobody_sees_a_gap_that_is_filled_later(dsn: str, first: int, tally: list[Counts]) -> None:
    async with asyncio.TaskGroup() as group:
        seeds = [group.create_task(contend(dsn, seed)) for seed in range(first, min(first + AT_ONCE, SEEDS))]
    counts = [seed.result() for seed in seeds]

    tally += counts
    assert min(each.commits for each in counts) >= COMMITS
    assert min(each.overtaken for each in counts) > 0, "no transaction was overtaken by one that began after it"
