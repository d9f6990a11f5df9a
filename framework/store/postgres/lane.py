"""One connection to append over, and the batch that is on its way over it.

A lost connection is no answer: its backend may still record what it was sent. So the batch is sent again with the same
ids, as the next attempt. Whatever the lost backend has recorded by then is found under its ids; what it has not, it
never will, because the later attempt fences it off. So an answer is final, a refusal too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import asyncpg
import attrs

from framework.clock import SYSTEM_CLOCK
from framework.connections import TROUBLE, describe
from framework.errors import StorageUnavailable
from framework.policies import HEAD_WAIT_SECONDS, RECONNECT
from framework.store.postgres.arrays import teach
from framework.store.postgres.batch import answer, arguments
from framework.store.postgres.queue import AppendQueue
from framework.store.postgres.statements import APPEND_EVENTS
from framework.store.postgres.status import LaneStatus, head_sessions
from framework.store.postgres.unit import Unit

if TYPE_CHECKING:
    from framework.store.postgres.database import Database, StoreConnection

REPEATED: Final = (*TROUBLE, asyncpg.ObjectNotInPrerequisiteStateError)
"""After these nothing was recorded, and nobody's append is at fault: the head was held too long, for one."""


class Sent(NamedTuple):
    """What `append_events` returns."""

    base: int
    reached: int
    recorded_at: datetime
    starts: Sequence[int] | None
    outcomes: bytes | None


@attrs.define
class Attempt:
    """Tells what was sent of a batch before a connection was lost from what was sent after."""

    batch: UUID = attrs.field(factory=SYSTEM_CLOCK.new_id)
    number: int = 1


@attrs.frozen(eq=False)
class Log:
    """What batches are appended to."""

    schema: str
    queue: AppendQueue
    """What waits behind them."""
    appended: Callable[[int, int], None]
    """Is told for each batch where the log ended before it, and where it ends with it."""


class Lane:
    """Sends a batch over a connection that it keeps, and makes a new one when that is lost."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.serves: str | None = None
        """The schema that it appends to, or did last."""
        self._connection: StoreConnection | None = None
        self._sending = 0
        self._trouble: str | None = None

    @property
    def status(self) -> LaneStatus:
        """How it is at this moment."""
        connection = self._connection
        pid = None if connection is None or connection.is_closed() else connection.get_server_pid()
        return LaneStatus(pid, self._sending, self._trouble)

    async def deliver(self, batch: Sequence[Unit], log: Log) -> None:
        """Send *batch* until the database has answered it, or until that takes too long."""
        if self.serves != log.schema:
            self.serves, self._trouble = log.schema, None  # which was another's
        self._sending = len(batch)
        try:
            await self._deliver(batch, log, Attempt())
        except asyncio.CancelledError:
            self.close()  # what is on its way over it has nobody to hear of it
            raise
        finally:
            self._sending = 0

    def close(self) -> None:
        """Cut the connection."""
        if self._connection is not None:
            self._connection.terminate()

    async def _deliver(self, batch: Sequence[Unit], log: Log, attempt: Attempt) -> None:
        failures = 0
        while batch:
            try:
                sent = await self._send(batch, log.schema, attempt)
            except StorageUnavailable as error:
                failures += 1
                self._trouble = str(error)
                batch = await self._wait(batch, log.queue, RECONNECT.delay_s(failures))
            except asyncpg.PostgresError as error:
                # Something that the database does not take is among them: each alone, so that it fails alone.
                if len(batch) == 1:
                    batch[0].refuse(f"the database refused the append: {describe(error)}")
                else:
                    for unit in batch:
                        await self._deliver((unit,), log, attempt)
                return
            else:
                self._trouble = None
                answer(batch, sent.base, sent.recorded_at, sent.starts, sent.outcomes)
                log.appended(sent.base, sent.reached)
                return

    async def _wait(self, batch: Sequence[Unit], queue: AppendQueue, wait_s: float) -> Sequence[Unit]:
        """Give up those whose time is over before the next try, wait for it, and return the others."""
        reason = self._trouble or ""
        next_try = asyncio.get_running_loop().time() + wait_s
        queue.give_up(reason, next_try)
        patient = [unit for unit in batch if unit.due > next_try]
        for unit in batch:
            if unit.due <= next_try:
                unit.give_up(reason)
        if patient:
            await asyncio.sleep(wait_s)
        return patient

    async def _send(self, batch: Sequence[Unit], schema: str, attempt: Attempt) -> Sent:
        """Send *batch* once; raises `StorageUnavailable` if it is to be sent again."""
        own = await self._connected()
        columns = arguments(batch)
        were_in_doubt = [unit.is_in_doubt for unit in batch]
        try:
            async with self._database.within(own, schema) as connection:
                for unit in batch:
                    unit.is_in_doubt = True
                (row,) = await connection.fetch(
                    APPEND_EVENTS,
                    attempt.batch,
                    attempt.number,
                    round(HEAD_WAIT_SECONDS * 1_000),
                    *columns,
                )
        except StorageUnavailable as error:
            own.terminate()
            if isinstance(error.__cause__, asyncpg.ReadOnlySQLTransactionError):
                _take_back(batch, were_in_doubt)  # it is a standby, and has recorded nothing
                raise
            attempt.number += 1
            raise StorageUnavailable(f"the connection was lost: {error.__cause__ or describe(error)}") from error
        except asyncpg.PostgresError as error:
            _take_back(batch, were_in_doubt)
            if isinstance(error, REPEATED):
                raise StorageUnavailable(await self._describe(error, own, schema)) from error
            raise
        return Sent(*row)

    async def _connected(self) -> StoreConnection:
        if self._connection is not None and not self._database.trusts(self._connection):
            self._connection.terminate()
        if self._connection is None or self._connection.is_closed():
            try:
                # A limit that is meant for queries would make strangers fail together: it is the head that takes time.
                self._connection = await self._database.connect(statement_timeout="0")
                teach(self._connection)
            except asyncpg.PostgresError as error:
                raise StorageUnavailable(f"the database lets nobody in: {describe(error)}") from error
        return self._connection

    async def _describe(self, error: asyncpg.PostgresError, own: StoreConnection, schema: str) -> str:
        if isinstance(error, asyncpg.LockNotAvailableError | asyncpg.QueryCanceledError):
            with suppress(StorageUnavailable, asyncpg.PostgresError):
                async with self._database.within(own, schema) as connection:
                    holder, _ = await head_sessions(connection)
                if holder:
                    return f"the log is held by {holder}"
        return f"the database is in trouble: {describe(error)}"


def _take_back(batch: Sequence[Unit], were_in_doubt: Sequence[bool]) -> None:
    """Have the units of *batch* be as doubtful as they were before they were sent this time."""
    for unit, was_in_doubt in zip(batch, were_in_doubt, strict=True):
        unit.is_in_doubt = was_in_doubt
