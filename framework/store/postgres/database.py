"""One database, and what the stores in it share: the connections they read and append over, and how new ones are made.

A connection serves one schema at a time. It remembers which, and its search_path is changed only when it passes from
one store to another. PostgreSQL looks up the names in a prepared statement anew when the path is another than it was,
so the statements that a connection keeps are right for every schema.

A pooler that gives a server to each transaction remembers nothing between two of them: behind one, all that a statement
needs is said in its own transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, cast

import asyncpg

from framework import connections
from framework.connections import AttentiveConnection, answering, quoted, troubled, unavailable
from framework.errors import StorageUnavailable
from framework.policies import ANSWER_SECONDS, LEASE
from framework.store.postgres.lanes import Lanes
from framework.store.postgres.listener import Listener
from framework.store.postgres.pool import Pool
from framework.store.postgres.presence import Presence

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]
else:
    Connection = asyncpg.Connection  # generic to checkers only

PLANNING: Final = {
    # Every statement of the store has an index to go by. A plan made while a table was small, and kept, would go on
    # reading all of it when it is large.
    "enable_seqscan": "off",
    # So it is the same plan whatever is asked for, and making it anew would take longer than to read a short page.
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}

ISOLATION: Final = {
    # Whatever the database has as its default: an append must see what was committed before it got the head.
    "default_transaction_isolation": "read committed",
}

BOUNDS: Final = {
    # A process that is stopped in the middle of a transaction must not keep the others from the head, or from a slot.
    "idle_in_transaction_session_timeout": str(int(LEASE.total_seconds() * 1_000)),
}

TRANSACTIONS: Final = 8
"""Transactions of callers that may be open at once; more wait for one to end."""


class StoreConnection(AttentiveConnection):
    """A connection that remembers whose tables it finds, and how old it is."""

    __slots__ = ("era", "schema")

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.schema: str | None = None
        self.era = 0
        """How often a connection of its database had fallen silent when it was made."""

    async def enter(self, schema: str) -> None:
        """Find the tables of *schema*, and no others, from now on."""
        if self.schema != schema:
            self.schema = None  # nobody knows which it is while the answer is on its way
            await self.execute(f"SET search_path TO {quoted(schema)}")
            self.schema = schema


class Database:
    """A PostgreSQL database, 15 or later, that any number of stores keep their logs in, each in a schema of its own.

    `PostgresEventStore(database, schema=…)` shares its connections with the other stores on it; they are there while
    any of these is open.
    """

    def __init__(
        self,
        dsn: str,
        *,
        listen_dsn: str | None = None,
        transaction_pooler: bool = False,
        max_readers: int = 8,
        max_appenders: int = 8,
    ) -> None:
        """Connect to *dsn*, whose first host that is a primary is taken where it names several.

        With *transaction_pooler*, *dsn* leads through a pooler in transaction mode, such as pgbouncer, behind which
        nothing can be listened to: unless *listen_dsn* leads around it, the log is looked at every second instead. At
        most *max_readers* statements read at the same time, and at most *max_appenders* batches are appended; more
        wait for their turn.
        """
        self.dsn = dsn
        self.listen_dsn = listen_dsn if transaction_pooler else listen_dsn or dsn
        """Where the notifications of other nodes come in; None where they cannot."""
        self._transaction_pooler = transaction_pooler
        self._max_readers = max_readers
        self._max_appenders = max_appenders
        self._era = 0
        """Counts the times that a connection fell silent: those made before are not trusted any more."""
        self._readers: Pool | None = None
        self._callers: Pool | None = None
        self._lanes: Lanes | None = None
        self._listener: Listener | None = None
        self._presence: Presence | None = None
        self._main: asyncio.Task[None] | None = None
        self._users = 0

    @property
    def listener(self) -> Listener:
        """What hears of all stores that are open."""
        if self._listener is None:
            raise StorageUnavailable("no store is open on the database")
        return self._listener

    @property
    def presence(self) -> Presence:
        """What says that this process lives, and shares out slots."""
        if self._presence is None:
            raise StorageUnavailable("no store is open on the database")
        return self._presence

    @property
    def lanes(self) -> Lanes:
        """What appends go over."""
        if self._lanes is None:
            raise StorageUnavailable("no store is open on the database")
        return self._lanes

    @property
    def callers(self) -> Pool:
        """Connections for callers, who may do to them what those of the stores must be spared."""
        if self._callers is None:
            raise StorageUnavailable("no store is open on the database")
        return self._callers

    @property
    def readers(self) -> Pool:
        """Connections to read through."""
        if self._readers is None:
            raise StorageUnavailable("no store is open on the database")
        return self._readers

    async def open(self) -> None:
        """Be used by one more; the connections are made when they are needed."""
        if self._readers is None:
            # They begin with no connections, so they are there at once, before another store can come in between.
            reading = await connections.create_pool(
                self.dsn, self._max_readers, init=self._prepare, reset=_leave_as_it_is, **self._options()
            )
            self._readers = Pool(reading, self._max_readers, self.trusts)
            cache = {"statement_cache_size": 0} if self._transaction_pooler else {}
            calling = await connections.create_pool(
                self.dsn, TRANSACTIONS, init=self._date, connection_class=StoreConnection, **cache
            )
            self._callers = Pool(calling, TRANSACTIONS, self.trusts)
            self._lanes = Lanes(self, self._max_appenders)
            self._presence = Presence(self.connect, self.session)
            self._listener = Listener(self.listen_dsn, self.session, self._presence.look)
            # Whoever opens it may not be the task that closes it.
            self._main = asyncio.create_task(self._run(self._listener, self._presence), name="database")
        self._users += 1

    async def close(self) -> None:
        """Be used by one less; the last one closes all connections."""
        self._users -= 1
        if self._users > 0:
            return
        main, lanes, pools = self._main, self._lanes, (self._readers, self._callers)
        self._readers = self._callers = self._lanes = self._listener = self._presence = self._main = None
        try:
            if main is not None:
                main.cancel()
                await asyncio.wait([main])  # before its connections go from under it
                if not main.cancelled():
                    main.result()  # it never ends by itself: the error that ended it
        finally:
            if lanes is not None:
                lanes.close()
            for pool in pools:
                if pool is not None:
                    pool.close()

    async def connect(self, **settings: str) -> StoreConnection:
        """Return a connection of the caller's own; raises `StorageUnavailable`.

        It has *settings*, unless it leads through a pooler, who would give them to others.
        """
        with unavailable():
            connection = await connections.connect(self.dsn, **self._options(**settings))
            try:
                await self._prepare(connection)
            except BaseException:
                connection.terminate()
                raise
        return cast("StoreConnection", connection)

    def trusts(self, connection: StoreConnection) -> bool:
        """Return whether *connection* was made since one last fell silent."""
        return connection.era == self._era

    def fell_silent(self, connection: StoreConnection) -> None:
        """Trust no connection any more that is as old as *connection*."""
        if self.trusts(connection):
            self._era += 1

    @asynccontextmanager
    async def session(self, schema: str, *, answer_s: float | None = None) -> AsyncGenerator[Connection, None]:
        """Lend a connection that finds the tables of *schema*, for *answer_s*; raises `StorageUnavailable`."""
        async with self.readers.lend() as lent:
            with troubled():
                async with self.within(cast("StoreConnection", lent), schema, answer_s=answer_s) as connection:
                    yield connection

    @asynccontextmanager
    async def within(
        self, connection: StoreConnection, schema: str, *, answer_s: float | None = None
    ) -> AsyncGenerator[Connection, None]:
        """Have *connection* find the tables of *schema* while inside; raises `StorageUnavailable`.

        That is for *answer_s* at most, `ANSWER_SECONDS` unless it is given; then the connection is cut.
        """
        within_s = ANSWER_SECONDS if answer_s is None else answer_s
        with answering(connection, within_s, self.fell_silent), unavailable(connection=connection):
            if self._transaction_pooler:
                async with connection.transaction(isolation="read_committed"):
                    await connection.execute(_locally({"search_path": quoted(schema), **PLANNING, **BOUNDS}))
                    yield connection
            else:
                await connection.enter(schema)
                yield connection

    async def _run(self, listener: Listener, presence: Presence) -> None:
        async with asyncio.TaskGroup() as parts:
            parts.create_task(listener.run(), name="listener")
            parts.create_task(presence.run(), name="presence")

    async def _prepare(self, connection: Any) -> None:
        """Keep jsonb as the bytes it travels as: the codec reads them, and a text in between is work for nothing."""
        await self._date(connection)
        with answering(connection, ANSWER_SECONDS, self.fell_silent):
            await connection.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=_jsonb, decoder=_document, format="binary"
            )

    async def _date(self, connection: Any) -> None:
        connection.era = self._era

    def _options(self, **settings: str) -> dict[str, Any]:
        """Return what all connections to `dsn` are made with."""
        if self._transaction_pooler:
            # A statement prepared on one server is not there on the next, and a pooler knows no other settings.
            return {"connection_class": StoreConnection, "statement_cache_size": 0}
        return {"connection_class": StoreConnection, "server_settings": {**PLANNING, **ISOLATION, **BOUNDS, **settings}}


def _locally(settings: dict[str, str]) -> str:
    return "; ".join(f"SET LOCAL {name} TO {value}" for name, value in settings.items())


async def _leave_as_it_is(connection: Connection) -> None:
    """Spare the round trip of a reset: no statement of the store leaves anything on its connection but its schema."""
    del connection


# The binary form of jsonb is a version, which is 1, and the text. These run for every document, and in C.
_jsonb: Callable[[bytes], bytes] = b"\x01".__add__
_document: Callable[[bytes], bytes] = itemgetter(slice(1, None))
