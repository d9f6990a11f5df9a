"""Writers that do what they can to be recorded out of order, and readers that look all the while.

Most writers, and one reader, live in the server, as procedures: a step costs them no round trip, so that a thousand
transactions with a delay at each step take about a second. What they do is drawn from a seeded `Random` beforehand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple, Self
from uuid import UUID, uuid4

import asyncpg
import attrs

from framework import Application, EventHandler, Recorded, Router
from framework.codec import Codec
from framework.connections import LOST
from framework.errors import WrongExpectedVersion
from framework.evolution import EventTypes
from framework.journal import Journal, Unreadable
from framework.selection import Selection
from framework.store.protocol import EventStore, Expected, StoredEvent
from framework.subscription.tail import Feed, Tail
from framework.tasks import Tasks
from tests.store.postgres.hands import event, write

SHARED: Final = "shared"
"""The stream that everybody writes to."""

END: Final = "server-end"
"""The stream of the event after which nothing comes."""

BEGINNING: Final = "server-"
"""What the names of some streams begin with, that of the last one among them."""


@attrs.frozen
class Common:
    """What most transactions record."""

    started: int | None
    """In which order they began, where that is known."""


@attrs.frozen
class Rare:
    """What some record."""

    started: int | None


@attrs.frozen
class Last:
    """The event after which nothing comes."""

    started: int | None


COMMON, RARE, LAST = (each.__name__ for each in (Common, Rare, Last))

UNKNOWN: Final = b'{"started": null}'

INTERRUPTED: Final = (*LOST, asyncpg.QueryCanceledError, asyncpg.InterfaceError)
"""What a writer is told whose statement was cancelled, or whose backend was killed."""

MACHINERY: Final = """
    CREATE SEQUENCE starts;

    -- Appends one event, and returns its position; NULL if it was refused.
    CREATE FUNCTION append_one(id uuid, name text, expected bigint, kind text, started bigint) RETURNS bigint
    LANGUAGE plpgsql AS $$
    DECLARE
        answer record;
    BEGIN
        SELECT * INTO answer
          FROM append_events(
              id, 1, 0, ARRAY[1], ARRAY[name], ARRAY[expected], ARRAY[1], ARRAY[1], ARRAY[1], ARRAY[id], ARRAY[kind],
              ARRAY[1], ARRAY[jsonb_build_object('started', started)], ARRAY['{}'::jsonb], ARRAY[id], ARRAY[id],
              '{}', '{}', '{}', '{}', '{}', '{}', '{}'
          );
        IF answer.outcomes IS NULL THEN
            RETURN answer.base + 1;
        END IF;
        IF expected >= 0 AND (answer.outcomes #>> '{0,writes,0,0}')::bigint <> expected + 1 THEN
            RAISE '% was expected at version %, and is at % with one more event', name, expected, answer.outcomes;
        END IF;
        RETURN answer.outcomes #>> '{0,writes,0,1}';
    END
    $$;

    -- Runs a transaction for each of the arrays' places. Where a version is expected, it is the one before the delays.
    CREATE PROCEDURE write_log(own text, styles text[], kinds text[], early_s float[], late_s float[], fates text[])
    LANGUAGE plpgsql AS $$
    DECLARE
        started  bigint;
        name     text;
        expected bigint;
    BEGIN
        FOR n IN 1 .. cardinality(styles) LOOP
            started := nextval('starts');
            PERFORM pg_current_xact_id();
            name := CASE styles[n] WHEN 'own' THEN own ELSE 'shared' END;
            expected := CASE styles[n] WHEN 'any' THEN -1 WHEN 'exists' THEN -2 ELSE current_version(name) END;
            IF early_s[n] > 0 THEN
                PERFORM pg_sleep(early_s[n]);
            END IF;
            PERFORM append_one(gen_random_uuid(), name, expected, kinds[n], started);
            IF late_s[n] > 0 THEN
                PERFORM pg_sleep(late_s[n]);
            END IF;
            IF fates[n] = 'commit' THEN
                COMMIT;
            ELSE
                ROLLBACK;
            END IF;
        END LOOP;
    END
    $$;

    -- Reads the log as it grows, by nothing but positions, until it has seen the last event.
    CREATE PROCEDURE tail_log() LANGUAGE plpgsql AS $$
    DECLARE
        seen bigint := 0;
        page record;
    BEGIN
        LOOP
            SELECT count(*) AS events, max(e.position) AS position, bool_or(e.event_type = 'Last') AS is_last
              INTO page
              FROM (SELECT * FROM events WHERE position > seen ORDER BY position LIMIT 100) AS e;
            IF page.events > 0 AND page.position <> seen + page.events THEN
                RAISE 'after position % the next % events reach up to %', seen, page.events, page.position;
            END IF;
            seen := coalesce(page.position, seen);
            EXIT WHEN page.is_last;
            COMMIT;
            PERFORM pg_sleep(0.001);
        END LOOP;
    END
    $$;
"""


VICTIM: Final = """
    SELECT pid FROM pg_stat_activity
     WHERE application_name = $1
       AND state <> 'idle'
       AND query ~ 'write_log|append_one|append_events'
       AND pid <> pg_backend_pid()
     ORDER BY md5(pid || $2)
     LIMIT 1
"""


class Transaction(NamedTuple):
    """What one writer does next."""

    style: str
    """What it writes to, and expects: its own stream or the shared one at a version, or the latter in any state."""
    kind: str
    early_s: float
    """Between the beginning and the append."""
    late_s: float
    """Between the append and the end, while the head row is held."""
    fate: str


class Session:
    """A connection that can be had anew when it was taken away."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._settings = {"search_path": schema, "application_name": schema}
        self._connection: asyncpg.Connection[Any] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()

    async def connection(self) -> asyncpg.Connection[Any]:
        """Return the connection, outside of any transaction."""
        if self._connection is None or self._connection.is_closed() or self._connection.is_in_transaction():
            self._end()
            self._connection = await asyncpg.connect(self._dsn, server_settings=self._settings)
        return self._connection

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.terminate()


class Writers:
    """Everybody who writes to one log, with connections and a will of their own."""

    def __init__(self, dsn: str, schema: str, chance: Random) -> None:
        self.acknowledged: dict[UUID, int] = {}
        """The positions that writers were told."""
        self.withdrawn: set[UUID] = set()
        """What was rolled back, or refused."""
        self.interruptions = 0
        self._dsn = dsn
        self._schema = schema
        self._chance = chance

    async def in_the_server(self, own: str, *, times: int, transactions: int) -> None:
        """Run transactions as fast as their delays let them; those behind an interruption fall away."""
        async with Session(self._dsn, self._schema) as session:
            for _ in range(times):
                columns = map(list, zip(*(self._next() for _ in range(transactions)), strict=True))
                connection = await session.connection()
                with suppress(*INTERRUPTED):
                    await connection.execute("CALL write_log($1, $2, $3, $4, $5, $6)", own, *columns)

    async def step_by_step(self, *, transactions: int) -> None:
        """Run transactions of which each step is a statement of its own."""
        async with Session(self._dsn, self._schema) as session:
            for _ in range(transactions):
                connection = await session.connection()
                with suppress(*INTERRUPTED):
                    await self._step_by_step(connection)

    async def _step_by_step(self, connection: asyncpg.Connection[Any]) -> None:
        plan = self._next()
        new = uuid4()
        await connection.execute("BEGIN")
        started = await connection.fetchval("SELECT nextval('starts') FROM pg_current_xact_id()")
        await asyncio.sleep(plan.early_s)
        append = "SELECT append_one($1, $2, $3, $4, $5)"
        position = await connection.fetchval(append, new, SHARED, Expected.ANY, plan.kind, started)
        await asyncio.sleep(plan.late_s)
        if plan.fate == "commit":
            await connection.execute("COMMIT")
            self.acknowledged[new] = position
        else:
            self.withdrawn.add(new)
            await connection.execute("ROLLBACK")

    async def through(self, store: EventStore, own: str, *, appends: int) -> None:
        """Append by a store, now and then what it must refuse."""
        version = 0
        for _ in range(appends):
            plan = self._next()
            new = event(UNKNOWN, type_=plan.kind)
            stream, expected = (own, version) if plan.style == "own" else (SHARED, Expected.ANY)
            if plan.fate == "rollback":
                stream, expected = own, version + self._chance.randrange(1, 3)
            try:
                (appended,) = await store.append([write(stream, expected, new)])
            except WrongExpectedVersion:
                self.withdrawn.add(new.event_id)
                continue
            self.acknowledged[new.event_id] = appended.position
            if stream == own:
                assert appended.version == version + 1
                version = appended.version
            await asyncio.sleep(plan.early_s)

    async def interrupt(self, *, times: int) -> None:
        """Cancel the statement, or kill the backend, of one who is writing."""
        async with Session(self._dsn, self._schema) as session:
            connection = await session.connection()
            while self.interruptions < times:
                await asyncio.sleep(self._chance.uniform(0, 0.05))
                victim = await connection.fetchval(VICTIM, self._schema, str(self._chance.random()))
                if victim is not None:
                    how = self._chance.choice(("pg_cancel_backend", "pg_terminate_backend"))
                    self.interruptions += await connection.fetchval(f"SELECT {how}($1)", victim)

    def _next(self) -> Transaction:
        chance = self._chance
        return Transaction(
            chance.choices(("own", "any", "exists", "guess"), (5, 4, 1, 1))[0],
            chance.choice((RARE, COMMON, COMMON, COMMON)),
            chance.choice((0, 0, 0.001, 0.002, 0.003)),
            chance.choice((0, 0, 0, 0.001)),
            chance.choices(("commit", "rollback"), (9, 1))[0],
        )


# Readers: each returns what it has seen, in the order in which it saw it, up to the last event -------------


async def tail_by_waiting(store: EventStore, chance: Random) -> list[StoredEvent]:
    """Wait for the log to grow, and read at least what it is said to have grown by."""
    seen: list[StoredEvent] = []
    while not seen or seen[-1].type != LAST:
        after = len(seen)
        head = await store.wait_beyond(after)
        limit = chance.randint(1, 100)
        page = await store.read_log(after=after, limit=limit)
        assert [stored.position for stored in page.events] == list(range(after + 1, page.looked_to + 1))
        assert page.head >= head > after
        assert page.looked_to >= min(head, after + limit)
        seen += page.events
    return seen


async def tail_by_types(store: EventStore, chance: Random) -> list[StoredEvent]:
    """Look again and again for what is of two types."""
    seen: list[StoredEvent] = []
    looked_to = 0
    while not seen or seen[-1].type != LAST:
        page = await store.read_log(after=looked_to, limit=chance.randint(1, 20), types=(RARE, LAST))
        seen += page.events
        looked_to = page.looked_to
        if not page.events:
            await asyncio.sleep(chance.uniform(0, 0.01))
    return seen


async def tail_by_prefix(store: EventStore, chance: Random) -> list[StoredEvent]:
    """Look again and again for what is in streams that are called alike."""
    seen: list[StoredEvent] = []
    looked_to = 0
    while not seen or seen[-1].type != LAST:
        page = await store.read_log(after=looked_to, limit=chance.randint(1, 20), prefix=BEGINNING)
        seen += page.events
        looked_to = page.looked_to
        if not page.events:
            await asyncio.sleep(chance.uniform(0, 0.01))
    return seen


class Process:
    """What reads the end of a log once for all subscriptions of a process."""

    def __init__(self, store: EventStore, tasks: Tasks) -> None:
        self.journal = Journal(store, Codec(), EventTypes([]))
        self.tail = Tail(self.journal, page=50, room=60, begin=partial(tasks.start, "tail"))

    @classmethod
    @asynccontextmanager
    async def reading(cls, store: EventStore) -> AsyncGenerator[Self, None]:
        tasks = Tasks()
        try:
            yield cls(store, tasks)
        finally:
            await tasks.end()


async def tail_by_subscription(process: Process, selection: Selection, chance: Random) -> list[StoredEvent]:
    """Follow the tail of a process, too slowly for it now and then, and find the way back to it by pages."""
    feed = Feed(process.journal, process.tail, selection, after=0, page=chance.randint(1, 100))
    seen: list[StoredEvent] = []
    while not seen or seen[-1].type != LAST:
        page = await feed.next()
        assert page is not None
        seen += [item.stored for item in page.events if isinstance(item, Unreadable)]  # nobody knows their types
        await asyncio.sleep(chance.choice((0, 0, 0.01, 0.1)))
    feed.end()
    return seen


class Everything(EventHandler[Common | Rare | Last]):
    """Notes the positions of what it is given, each once: after trouble some come again."""

    def __init__(self) -> None:
        self.seen: dict[int, None] = {}

    async def handle(self, event: Recorded[Common | Rare | Last]) -> None:
        self.seen[event.position] = None


class WhatIsRare(EventHandler[Rare | Last]):
    """Notes the positions of what is of two types."""

    def __init__(self) -> None:
        self.seen: dict[int, None] = {}

    async def handle(self, event: Recorded[Rare | Last]) -> None:
        self.seen[event.position] = None


class WhatIsCalledAlike(EventHandler[Common | Rare | Last]):
    """Notes those in streams that are called alike, as many at a time as there are."""

    prefix = BEGINNING

    def __init__(self) -> None:
        self.seen: dict[int, None] = {}

    async def handle_batch(self, events: Sequence[Recorded[Common | Rare | Last]]) -> None:
        self.seen.update(dict.fromkeys(event.position for event in events))


class Handlers:
    """An application with handlers of every kind, and those who follow its events."""

    def __init__(self, store: EventStore) -> None:
        self._handlers: dict[str, Everything | WhatIsRare | WhatIsCalledAlike] = {
            "all": Everything(),
            "rare": WhatIsRare(),
            "alike": WhatIsCalledAlike(),
        }
        self._application = Application(store=store, router=Router(), handlers=[*self._handlers.values()])

    @classmethod
    @asynccontextmanager
    async def running(cls, store: EventStore) -> AsyncGenerator[Self, None]:
        handlers = cls(store)
        async with handlers._application:
            yield handlers

    @property
    def seen(self) -> dict[str, list[int]]:
        """The positions of what each has handled, in that order."""
        return {name: list(handler.seen) for name, handler in self._handlers.items()}

    async def handle(self) -> None:
        """Return when all handlers have come to the last event."""
        last = (await self.follow(types=(Last,)))[-1]
        names = [type(handler).__name__ for handler in self._handlers.values()]
        done = await self._application.wait_for(last, names, timeout=timedelta(seconds=60))
        assert set(done.values()) == {"handled"}

    async def follow(self, *, types: tuple[type, ...] | None = None, prefix: str = "") -> list[int]:
        """Return the positions of the application's events, up to that of the last."""
        seen: list[int] = []
        async with aclosing(self._application.events(types=types, prefix=prefix)) as events:
            async for each in events:
                seen.append(each.position)
                if isinstance(each.data, Last):
                    break
        return seen


async def tail_by_sql(dsn: str, schema: str) -> None:
    """Look a thousand times a second, in the server."""
    async with Session(dsn, schema) as session:
        connection = await session.connection()
        await connection.execute("CALL tail_log()")
