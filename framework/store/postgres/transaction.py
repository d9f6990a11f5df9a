"""Appends inside a transaction of the caller's, where they stand or fall with the caller's own rows.

From such an append until the end of the transaction the head row is held, and nobody else can append. So the time is
bounded, three times: this process undoes the transaction; where it does not get to, the database ends the session a
moment later; and those who wait are told who holds the head.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import attrs
from asyncpg.pool import PoolConnectionProxy

from framework.clock import SYSTEM_CLOCK
from framework.connections import LOST, answering, describe, is_lost, quoted, unavailable
from framework.errors import (
    AppendRefused,
    FrameworkError,
    HeadHeldTooLong,
    OutcomeUnknown,
    StorageUnavailable,
    UnfitTransaction,
)
from framework.policies import ANSWER_SECONDS, HEAD_WAIT_SECONDS
from framework.store.postgres.batch import answer, arguments, as_text
from framework.store.postgres.lane import REPEATED
from framework.store.postgres.listener import channel
from framework.store.postgres.pool import Pool
from framework.store.postgres.statements import APPEND_EVENTS_ELSEWHERE, IS_RECORDED, LOCK_HEAD
from framework.store.postgres.status import head_sessions
from framework.store.postgres.unit import Unit
from framework.store.protocol import Appended, Receipt, StreamWrite

if TYPE_CHECKING:
    from framework.connections import Connection as AnyConnection

GRACE: Final = timedelta(seconds=1)
"""How much later than this process the database ends a transaction that holds the head."""

UNFIT: Final = (
    asyncpg.ActiveSQLTransactionError,
    asyncpg.InFailedSQLTransactionError,
    asyncpg.ReadOnlySQLTransactionError,
)


@attrs.frozen
class Surroundings:
    """What an append in a caller's transaction needs of the store."""

    schema: str
    hold_at_most: timedelta
    transaction: Callable[[], AbstractAsyncContextManager[Any]]
    """Opens a transaction of the store's own."""


class JoinedTransaction:
    """A caller's transaction that appends can be part of."""

    def __init__(self, connection: AnyConnection, store: Surroundings, hold: asyncio.Timeout) -> None:
        self._connection = connection
        self._store = store
        self._hold = hold
        self._sent: list[Unit] = []
        self._base: int | None = None
        """The last position before it."""
        self.reached: int | None = None
        """The last position of the log, should the transaction be committed."""

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        """Record as `EventLog.append` does, now, and for good when the transaction is committed.

        Let COMMIT follow at once: until then nobody else can append. Raises `UnfitTransaction` where none is open or
        its isolation is above READ COMMITTED, and otherwise what `EventLog.append` does: nothing was recorded, and the
        caller's own statements are still to be undone.
        """
        unit = Unit.of(writes, receipts)
        await self.send([unit])
        return unit.answer.result()

    async def send(self, units: Sequence[Unit]) -> None:
        """Record *units*, and raise the error of the first that is refused."""
        if is_lost(self._connection):
            raise StorageUnavailable("the transaction is lost: its connection is gone")
        if not self._connection.is_in_transaction():
            raise UnfitTransaction("there is no open transaction: begin one on the connection, and append inside it")
        self._sent += units
        base, recorded, starts, outcomes, self.reached, *_ = await self._call(units)
        self._base = base if self._base is None else self._base
        self.begin_to_hold()
        answer(units, base, datetime.fromisoformat(recorded), starts, outcomes)
        for unit in units:
            unit.answer.result()

    def begin_to_hold(self) -> None:
        """Count the time from here on, unless it is counted already: the head is held."""
        if self._hold.when() is None:
            self._hold.reschedule(asyncio.get_running_loop().time() + self._store.hold_at_most.total_seconds())

    async def _call(self, units: Sequence[Unit]) -> Any:
        statement = APPEND_EVENTS_ELSEWHERE.replace(":schema", quoted(self._store.schema))
        limit_ms = round((self._store.hold_at_most + GRACE) / timedelta(milliseconds=1))
        try:
            with answering(self._connection, ANSWER_SECONDS):
                return await self._connection.fetchrow(
                    statement,
                    str(SYSTEM_CLOCK.new_id()),
                    1,
                    round(HEAD_WAIT_SECONDS * 1_000),
                    *as_text(arguments(units)),
                    str(limit_ms),
                    channel(self._store.schema),
                )
        except UNFIT as error:
            raise UnfitTransaction(f"the transaction cannot carry an append: {error}") from error
        except asyncpg.LockNotAvailableError as error:
            raise StorageUnavailable(await self._who_holds_the_head()) from error
        except (*LOST, *REPEATED, asyncpg.InterfaceError) as error:
            raise StorageUnavailable(f"the transaction is lost: {describe(error)}") from error
        except asyncpg.PostgresError as error:
            raise AppendRefused(f"the database refused the append: {describe(error)}") from error

    async def _who_holds_the_head(self) -> str:
        with suppress(StorageUnavailable):
            async with self._store.transaction() as connection:
                holder, _ = await head_sessions(connection)
                if holder:
                    return f"the log is held by {holder}"
        return f"the log was held by somebody for {HEAD_WAIT_SECONDS:g} s"

    async def outcome(self) -> bool | None:
        """Return whether the transaction, which is over or lost, was committed; None where that cannot be said."""
        if self._base == self.reached:
            return None  # it recorded nothing of its own that could tell
        try:
            async with self._store.transaction() as connection:
                await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{HEAD_WAIT_SECONDS:g}s")
                # It held the head. Who has the lock after it sees what became of it, and that this stays so.
                await connection.execute(LOCK_HEAD)
                ids = [event.event_id for unit in self._sent for write in unit.writes for event in write.events]
                (row,) = await connection.fetch(IS_RECORDED, ids, self._base)
                return bool(row[0])
        except (StorageUnavailable, asyncpg.PostgresError):
            return None

    async def failure(self, otherwise: FrameworkError) -> FrameworkError | None:
        """Return what to raise when the end of the transaction was not heard; None if it was committed."""
        match await self.outcome():
            case True:
                return None
            case False:
                return otherwise
            case None:
                return self.unknown()

    def unknown(self) -> OutcomeUnknown:
        """Return what to raise when it cannot be said whether the transaction was committed."""
        streams = {stream for unit in self._sent for stream in unit.streams}
        return OutcomeUnknown(", ".join(sorted(streams)) or "the transaction", None)


class Transaction:
    """A transaction on a connection of its own, and the appends that are to be part of it."""

    def __init__(self, connection: PoolConnectionProxy[Any]) -> None:
        self.connection = connection
        """For the caller's own statements: as asyncpg makes it, with none of the store's settings."""
        self.places: Sequence[tuple[Appended, ...]] = ()
        """Where the events of each append went, in order; nothing until the transaction is committed."""
        self._units: list[Unit] | None = []

    def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> None:
        """Have *writes* and *receipts* recorded at the end of the block, in the order of the calls, all or nothing."""
        if self._units is None:
            raise UnfitTransaction("the transaction is over: append inside its block")
        self._units.append(Unit.of(writes, receipts))

    def take(self) -> Sequence[Unit]:
        """Return what is to be recorded, and take no more."""
        units, self._units = self._units or (), None
        return units


@asynccontextmanager
async def joining(connection: AnyConnection, store: Surroundings) -> AsyncGenerator[JoinedTransaction, None]:
    """Lend the caller's *connection* what it takes to append; see `PostgresEventStore.joining`."""
    hold = asyncio.timeout(None)
    joined = JoinedTransaction(connection, store, hold)
    try:
        async with hold:
            yield joined
    except Exception as error:
        if not hold.expired():
            raise
        too_long = HeadHeldTooLong(store.hold_at_most.total_seconds())
        if not is_lost(connection) and connection.is_in_transaction():
            raise too_long from error  # which undoes it: it was begun outside of this block
        # The time may have run out while COMMIT was on its way, and then the caller's block did not get to its end.
        raise await joined.failure(too_long) or joined.unknown() from error


@asynccontextmanager
async def transaction(
    pool: Pool, store: Surroundings, heard: Callable[[int], None]
) -> AsyncGenerator[Transaction, None]:
    """Open a transaction on a connection of *pool*; see `PostgresEventStore.transaction`."""
    async with pool.lend() as connection, joining(connection, store) as joined:
        own = Transaction(connection)
        begun = connection.transaction(isolation="read_committed")
        with unavailable(), answering(connection, ANSWER_SECONDS):
            await begun.start()
        try:
            yield own
            if units := own.take():
                await joined.send(units)
        except BaseException:
            own.take()
            await _undo(begun, connection)
            raise
        try:
            with answering(connection, ANSWER_SECONDS):
                await begun.commit()
        except (*LOST, asyncpg.InterfaceError, StorageUnavailable) as error:
            _drop(connection)
            undone = StorageUnavailable(f"the transaction was lost, and undone: {describe(error)}")
            if failure := await joined.failure(undone):
                raise failure from error
        own.places = tuple(unit.answer.result() for unit in units)
        if joined.reached is not None:
            heard(joined.reached)


async def _undo(begun: Any, connection: PoolConnectionProxy[Any]) -> None:
    try:
        async with asyncio.timeout(GRACE.total_seconds()):
            await begun.rollback()
    except (*LOST, asyncpg.InterfaceError, asyncpg.PostgresError):
        _drop(connection)


def _drop(connection: PoolConnectionProxy[Any]) -> None:
    if not is_lost(connection):
        connection.terminate()
