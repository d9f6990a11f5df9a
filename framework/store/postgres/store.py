"""The event store on PostgreSQL."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import UUID

import asyncpg

from framework.connections import describe
from framework.errors import InvalidRequest, StorageUnavailable
from framework.policies import HOLD_AT_MOST
from framework.store.batches import TellBatch
from framework.store.health import StoreHealth
from framework.store.postgres import schema as tables
from framework.store.postgres import statements
from framework.store.postgres.appender import Appender
from framework.store.postgres.audit import AuditTable
from framework.store.postgres.database import Connection, Database
from framework.store.postgres.listener import Head
from framework.store.postgres.presence import Presence
from framework.store.postgres.processes import ProcessTables
from framework.store.postgres.reading import Reading
from framework.store.postgres.snapshots import SnapshotTable
from framework.store.postgres.status import Status, head_sessions
from framework.store.postgres.stream_reader import StreamReader
from framework.store.postgres.streams import StreamList
from framework.store.postgres.subscriptions import PostgresSubscriptions
from framework.store.postgres.transaction import (
    JoinedTransaction,
    Surroundings,
    Transaction,
    joining,
    transaction,
)
from framework.store.postgres.turn import append_in_turn
from framework.store.protocol import (
    Appended,
    Decide,
    Receipt,
    StoredEvent,
    StreamWrite,
)
from framework.store.validation import check_limit, check_moment, check_text

if TYPE_CHECKING:
    from framework.connections import Connection as AnyConnection

PRUNED_AT_ONCE: Final = 10_000
"""Receipts forgotten in one transaction."""


class PostgresEventStore(Reading, StreamList, SnapshotTable, ProcessTables, AuditTable):
    """An `EventStore` in a schema of a PostgreSQL database, 15 or later. Open inside `async with`.

    Reads go through a pool; appends have other connections, since one that waits for reads to finish would make every
    writer wait. Opening it creates the tables, or migrates them. While nothing is asked of it, it holds no connection
    and no task: only its `Database` does, for all stores on it.
    """

    def __init__(
        self,
        database: Database | str,
        *,
        schema: str = "framework",
        migrate: bool = True,
        give_up_after_s: float = 30.0,
        hold_at_most: timedelta = HOLD_AT_MOST,
    ) -> None:
        """Keep the events in *schema* of *database*, which a DSN stands for where no other store shares it.

        Without *migrate* the tables must be there in the version of this code. An append that cannot reach the
        database is answered with an error after *give_up_after_s* seconds. A caller's own transaction may keep the
        others from appending for *hold_at_most*.
        """
        tables.check_name(schema)
        self._database = database if isinstance(database, Database) else Database(database)
        self._schema = schema
        self._migrate = migrate
        self._give_up_after_s = give_up_after_s
        self._head: Head | None = None
        self.subscriptions = PostgresSubscriptions(self._fetch, self._presence, schema)
        self._appender: Appender | None = None
        self._reader: StreamReader | None = None
        self._surroundings = Surroundings(schema, hold_at_most, self._transaction)
        self._turn = asyncio.Lock()
        """Held by the one append that waits for its turn at the head: many would take all connections of readers."""
        self._log_id: UUID | None = None

    @property
    def log_id(self) -> UUID:
        """Tells this log from every other; known once the store is open."""
        if self._log_id is None:
            raise StorageUnavailable("the store is not open")
        return self._log_id

    @property
    def _known_head(self) -> Head:
        if self._head is None:
            raise StorageUnavailable("the store is not open")
        return self._head

    @property
    def namespace(self) -> str:
        """The schema, which read models of this log are called by too."""
        return self._schema

    @property
    def read_database(self) -> str | None:
        """The store's own database."""
        return self._database.dsn

    async def __aenter__(self) -> Self:
        """Create or migrate the tables and start what runs.

        Raises `StorageUnavailable` where the database does not answer, `SchemaMismatch` where its tables do not fit.
        """
        await self._database.open()
        try:
            # A migration takes the time it takes.
            async with self._database.session(self._schema, answer_s=math.inf) as connection:
                if self._migrate:
                    await tables.migrate(connection, self._schema)
                else:
                    await tables.check(connection, self._schema)
                (head,) = await connection.fetch(statements.HEAD)
        except BaseException:
            await self._database.close()
            raise
        self._log_id = head["log_id"]
        self._head = self._database.listener.enter(self._schema, head["position"])
        self._appender = Appender(self._database.lanes, self._schema, self._give_up_after_s, self._head.appended)
        self._reader = StreamReader(self._fetch)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Finish the appends that were accepted, and close all connections."""
        try:
            async with AsyncExitStack() as closing:
                closing.push_async_callback(self._database.close)
                if self._head is not None:
                    closing.callback(self._database.listener.leave, self._head)
                    self._head.close()
                if self._reader is not None:
                    closing.push_async_callback(self._reader.close)
                if self._appender is not None:
                    closing.push_async_callback(self._appender.close)
        finally:
            self._appender = self._reader = self._head = None

    def tell_batches(self, told: TellBatch) -> None:
        """Have *told* hear of every batch until the store is closed, or somebody else is to hear of them."""
        if self._appender is None:
            raise StorageUnavailable("the store is not open")
        self._appender.told = told

    # The log -----------------------------------------------------------------------------------------

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        """Record the events of all *writes* and the *receipts*, all or nothing, and say where they went."""
        if self._appender is None:
            raise StorageUnavailable("the store is not open")
        return await self._appender.append(writes, receipts)

    async def append_in_turn(self, after: Mapping[str, int], decide: Decide) -> tuple[Appended, ...]:
        """Record what *decide* makes of some streams, while nobody else can append."""
        for stream in after:
            check_text("a stream", stream)
        async with self._turn:
            return await append_in_turn(after, decide, self._surroundings, self._known_head.heard)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction in which the caller's own statements and appends stand or fall together.

        What is given to `Transaction.append` is recorded as the last act before COMMIT, when the block ends, so that
        others are kept from appending no longer than they must. A refusal is raised there, as by `append`, and undoes
        the caller's statements; an error in the block, or of COMMIT, records nothing. `StorageUnavailable` means that
        everything was undone, `OutcomeUnknown` that this cannot be said. Cancellation undoes it, unless COMMIT was on
        its way.
        """
        return transaction(self._database.callers, self._surroundings, self._known_head.heard)

    def joining(self, connection: AnyConnection) -> AbstractAsyncContextManager[JoinedTransaction]:
        """Let appends be part of a transaction on a *connection* of the caller's to the same database.

        Put the transaction inside the block, or the block inside the transaction. From the first append until the
        transaction ends nobody else can append: after *hold_at_most* it is undone and `HeadHeldTooLong` is raised
        here, or `OutcomeUnknown` if COMMIT was on its way. Those who wait for events hear of them after COMMIT.
        """
        return joining(connection, self._surroundings)

    async def status(self) -> Status:
        """Return how far the log is, who holds its head and who waits for it, and what is on its way."""
        if self._appender is None:
            raise StorageUnavailable("the store is not open")
        async with self._database.session(self._schema) as connection:
            (row,) = await connection.fetch(statements.HEAD)
            holder, waiting = await head_sessions(connection)
        return Status(
            log_id=row["log_id"],
            head=row["position"],
            holder=holder,
            waiting=waiting,
            lanes=self._database.lanes.status(self._schema),
            queued=self._appender.queued,
            readers=self._database.readers.size,
            idle_readers=self._database.readers.idle,
            waiting_readers=self._database.readers.waiting,
        )

    async def health(self) -> StoreHealth:
        """Return how far the log is, who holds its head, and whether appends and news arrive."""
        try:
            status = await self.status()
        except asyncpg.PostgresError as error:  # its tables are gone, say, or its rights
            raise StorageUnavailable(f"the database refused: {describe(error)}") from error
        return StoreHealth(
            head=status.head,
            holder=None if status.holder is None else str(status.holder),
            is_listening=self._database.listener.is_listening,
            troubles=tuple(lane.trouble for lane in status.lanes if lane.trouble is not None),
        )

    async def read_stream(
        self, stream: str, *, after: int = 0, until: int | None = None, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* events of *stream* in order, those with `after < version <= until`."""
        check_text("a stream", stream)
        check_limit(limit)
        if self._reader is None:
            raise StorageUnavailable("the store is not open")
        return await self._reader.read(stream, after=after, until=until, limit=limit)

    async def head(self) -> int:
        """Return the last position of the log; 0 for an empty one."""
        rows = await self._fetch(statements.HEAD)
        position: int = rows[0]["position"]
        return position

    async def wait_beyond(self, position: int) -> int:
        """Return the head once it is known to lie above *position*."""
        return await self._known_head.wait_beyond(position)

    @property
    def woken_by(self) -> str | None:
        """How it was last heard that the log has grown."""
        return self._known_head.woken_by

    def growth(self, position: int) -> asyncio.Future[None]:
        """Return a future that is done once the head may lie above *position*."""
        return self._known_head.growth(position)

    async def receipts(self, command_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """Return the receipts there are for *command_ids*."""
        rows = await self._fetch(statements.RECEIPTS, list(command_ids))
        return {row["command_id"]: Receipt(*row) for row in rows}

    async def prune_receipts(self, before: datetime) -> int:
        """Forget the receipts written before that moment, and say how many; not those that a process still needs."""
        check_moment(before)
        pruned = 0
        while rows := await self._fetch(statements.PRUNE_RECEIPTS, before, PRUNED_AT_ONCE):
            pruned += len(rows)
        await self._fetch(statements.PRUNE_FENCES, before)
        return pruned

    def _presence(self) -> Presence:
        return self._database.presence

    async def _fetch(self, statement: str, *arguments: object) -> list[Any]:
        try:
            async with self._session() as connection:
                return await connection.fetch(statement, *arguments)
        except (asyncpg.DataError, asyncpg.ProgramLimitExceededError) as error:
            raise InvalidRequest(f"the database cannot hold this, nor be asked for it: {describe(error)}") from error

    def _session(self) -> AbstractAsyncContextManager[Connection]:
        if self._appender is None:
            raise StorageUnavailable("the store is not open")
        return self._database.session(self._schema)

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Any, None]:
        async with self._session() as connection, connection.transaction():
            yield connection
