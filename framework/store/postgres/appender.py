"""Group commit: the appends that wait go to the database together.

Two lanes take turns: while one batch is on its way, the next fills. There is no timer: an idle store appends at once, a
busy one in batches as large as what has gathered. An append to a stream that is in the other lane's batch waits for
that one, so that two to one stream never race each other.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import attrs

from framework.connections import describe
from framework.errors import (
    AppendRefused,
    DuplicateEvent,
    FrameworkError,
    OutcomeUnknown,
    ReceiptTaken,
    StorageUnavailable,
    StreamDeleted,
    WrongExpectedVersion,
)
from framework.policies import RECONNECT
from framework.store.postgres.database import Database, StoreConnection
from framework.store.postgres.statements import APPEND_EVENTS
from framework.store.protocol import Appended, Expected, Receipt, StreamWrite

LANES: Final = 2
"""Batches on their way at once; more than two gain nothing, since the head row admits one."""

BATCH_EVENTS: Final = 512
BATCH_BYTES: Final = 4 * 1024 * 1024


@attrs.define(eq=False)
class Unit:
    """One caller's append, all or nothing."""

    writes: Sequence[StreamWrite]
    receipts: Sequence[Receipt]
    answer: asyncio.Future[tuple[Appended, ...]]
    events: int
    size: int
    was_sent: bool = False

    @property
    def streams(self) -> Iterable[str]:
        """The streams it writes to."""
        return (write.stream for write in self.writes)

    def succeed(self, places: tuple[Appended, ...]) -> None:
        """Tell the caller where its events are."""
        if not self.answer.done():
            self.answer.set_result(places)

    def fail(self, error: Exception) -> None:
        """Tell the caller that nothing was recorded, or that this cannot be said."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # a caller cancelled in this very step will not look

    def give_up(self, reason: str) -> None:
        """Tell the caller that the database cannot be asked."""
        if self.was_sent:
            command_id = self.receipts[0].command_id if self.receipts else None
            self.fail(OutcomeUnknown(", ".join(self.streams) or "receipts", command_id))
        else:
            self.fail(StorageUnavailable(reason))


class Appender:
    """Takes every append of a store, and sends them in batches."""

    def __init__(
        self, database: Database, schema: str, give_up_after_s: float, appended: Callable[[int], None]
    ) -> None:
        self._database = database
        self._schema = schema
        self.give_up_after_s = give_up_after_s
        self._appended = appended
        self._waiting: deque[Unit] = deque()
        self._held: dict[str, deque[Unit]] = {}
        """Behind a batch on its way, by the stream they wait for."""
        self._on_its_way: set[str] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._refuses: str | None = None

    def append(
        self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt]
    ) -> asyncio.Future[tuple[Appended, ...]]:
        """Return the answer to come. Cancelling it withdraws the append if it was not sent yet."""
        if self._refuses is not None:
            raise StorageUnavailable(self._refuses)
        events, size = _measure(writes)
        answer: asyncio.Future[tuple[Appended, ...]] = asyncio.get_running_loop().create_future()
        self._waiting.append(Unit(writes, receipts, answer, events, size))
        self._wake()
        return answer

    async def run(self) -> None:
        """Serve until `close` and until nothing waits. An end by error, or cancellation, leaves no caller waiting."""
        try:
            async with asyncio.TaskGroup() as lanes:
                for number in range(LANES):
                    lanes.create_task(Lane(self, self._database, self._schema).run(), name=f"append lane {number}")
        finally:
            self._refuses = "the store is closed"
            while self._waiting or self._held:
                for unit in self._waiting:
                    unit.give_up("the store is closed")
                self._waiting.clear()
                for held in self._held.values():
                    self._waiting.extend(held)
                self._held.clear()

    def close(self) -> None:
        """Take no more, and let `run` end when all that was taken is answered."""
        self._refuses = "the store is closed"
        while self._idle:
            self._wake()

    async def next_batch(self) -> list[Unit]:
        """Return what waits, as much as goes together; nothing once closed and done."""
        while True:
            if batch := self._take():
                return batch
            if self._refuses is not None and not self._held:
                return []
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(turn)
            try:
                await turn
            finally:
                if turn in self._idle:
                    self._idle.remove(turn)

    def settle(self, batch: Sequence[Unit]) -> None:
        """Let go of what waited for the streams of *batch*, in its order."""
        for unit in batch:
            for stream in unit.streams:
                self._on_its_way.discard(stream)
                if held := self._held.pop(stream, None):
                    self._waiting.extendleft(reversed(held))
        self._wake()
        if self._refuses is not None:
            self._wake()

    def answer(self, batch: Sequence[Unit], base: int, recorded_at: datetime, outcomes: bytes | None) -> None:
        """Tell every caller of *batch* what the database said."""
        if outcomes is None:
            position = base
            for unit in batch:
                places: list[Appended] = []
                for write in unit.writes:
                    position += len(write.events)
                    places.append(Appended(write.stream, write.expected + len(write.events), position, recorded_at))
                unit.succeed(tuple(places))
            self._appended(position)
            return
        judged: list[dict[str, Any]] = json.loads(outcomes)
        for outcome in judged:
            unit = batch[int(outcome["unit"]) - 1]
            if outcome["became"] == "recorded":
                written: list[Any] = outcome["writes"] or []
                places = [_place(write, *place) for write, place in zip(unit.writes, written, strict=True)]
                unit.succeed(tuple(places))
                self._appended(max((place.position for place in places), default=0))
            else:
                unit.fail(_refusal(outcome))

    def _wake(self) -> None:
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _take(self) -> list[Unit]:
        """Remove from what waits as much as may be sent now. No `await` from here until its streams are marked."""
        batch: list[Unit] = []
        events = size = 0
        leaves: dict[str, int] = {}
        """The version that a stream will have after the batch so far, where that is known."""
        while self._waiting:
            unit = self._waiting[0]
            if batch and (events + unit.events > BATCH_EVENTS or size + unit.size > BATCH_BYTES):
                break
            self._waiting.popleft()
            if unit.answer.done():
                continue  # withdrawn
            if blocked := self._blocked_by(unit, leaves):
                self._held.setdefault(blocked, deque()).append(unit)
                continue
            for write in unit.writes:
                leaves[write.stream] = write.expected + len(write.events) if write.expected >= 0 else -1
            batch.append(unit)
            events += unit.events
            size += unit.size
        self._on_its_way.update(leaves)
        return batch

    def _blocked_by(self, unit: Unit, leaves: dict[str, int]) -> str | None:
        for write in unit.writes:
            stream = write.stream
            if stream in self._on_its_way or stream in self._held:
                return stream
            # In one batch, a second append to a stream must build on the first.
            if stream in leaves and (write.expected < 0 or leaves[stream] != write.expected):
                return stream
        return None


class Lane:
    """One dedicated connection, and the batch that is on its way over it."""

    def __init__(self, appender: Appender, database: Database, schema: str) -> None:
        self._appender = appender
        self._database = database
        self._schema = schema
        self._connection: StoreConnection | None = None

    async def run(self) -> None:
        """Send batch after batch until there is nothing more to come."""
        try:
            while batch := await self._appender.next_batch():
                try:
                    await self._deliver(batch)
                finally:
                    for unit in batch:
                        unit.give_up("the store is closed")  # those without an answer: only when cancelled
                    self._appender.settle(batch)
        finally:
            if self._connection is not None:
                self._connection.terminate()

    async def _deliver(self, batch: Sequence[Unit]) -> None:
        """Send *batch* until the database has answered it.

        A lost backend may still commit what it was sent, so the same batch with the same ids is sent again: whichever
        comes first is recorded, and the other finds its ids taken.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._appender.give_up_after_s
        failures = 0
        while True:
            try:
                base, recorded_at, outcomes = await self._send(batch)
            except StorageUnavailable as error:
                failures += 1
                wait_s = RECONNECT.delay_s(failures)
                if loop.time() + wait_s > deadline:
                    for unit in batch:
                        unit.give_up(str(error))
                    return
                await asyncio.sleep(wait_s)
            except asyncpg.PostgresError as error:
                # Something that the database does not take is among them: each alone, so that it fails alone.
                if len(batch) == 1:
                    batch[0].fail(_unforeseen(error))
                else:
                    for unit in batch:
                        await self._deliver((unit,))
                return
            else:
                self._appender.answer(batch, base, recorded_at, outcomes)
                return

    async def _send(self, batch: Sequence[Unit]) -> tuple[int, datetime, bytes | None]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
        arguments = _arguments(batch)
        for unit in batch:
            unit.was_sent = True
        try:
            async with self._database.within(self._connection, self._schema) as connection:
                ((base, recorded_at, outcomes),) = await connection.fetch(APPEND_EVENTS, *arguments, None)
        except StorageUnavailable:
            self._connection.terminate()
            raise
        return base, recorded_at, outcomes


def _arguments(batch: Sequence[Unit]) -> tuple[list[Any], ...]:
    """Return *batch* as the arrays that `append_events` takes, in its order."""
    columns: tuple[list[Any], ...] = tuple([] for _ in range(20))
    units, streams, expected, counts, in_write, places, ids, types, versions, datas = columns[:10]
    metadatas, correlations, causations, receipt_units, command_ids = columns[10:15]
    digests, receipt_streams, firsts, event_counts, refusals = columns[15:]
    for number, unit in enumerate(batch, 1):
        for write in unit.writes:
            units.append(number)
            streams.append(write.stream)
            expected.append(write.expected)
            counts.append(len(write.events))
            index = len(units)
            for place, event in enumerate(write.events, 1):
                in_write.append(index)
                places.append(place)
                ids.append(event.event_id)
                types.append(event.type)
                versions.append(event.type_version)
                datas.append(event.data)
                metadatas.append(event.metadata)
                correlations.append(event.correlation_id)
                causations.append(event.causation_id)
        for receipt in unit.receipts:
            receipt_units.append(number)
            command_ids.append(receipt.command_id)
            digests.append(receipt.digest)
            receipt_streams.append(receipt.stream)
            firsts.append(receipt.first_version)
            event_counts.append(receipt.event_count)
            refusals.append(receipt.refusal)
    return columns


def _measure(writes: Sequence[StreamWrite]) -> tuple[int, int]:
    """Return how many events *writes* have, and how many bytes; raises for what no store takes."""
    events = size = 0
    for write in writes:
        if write.expected < Expected.STREAM_EXISTS:
            raise ValueError(f"{write.stream}: {write.expected} is neither a version nor one of Expected")
        events += len(write.events)
        for event in write.events:
            size += len(event.data) + len(event.metadata)
    if len(writes) > 1 and len({write.stream for write in writes}) < len(writes):
        raise ValueError("a stream stands twice in one append: put its events together")
    if events > 1:
        ids = [event.event_id for write in writes for event in write.events]
        if len(set(ids)) < events:
            twice = [each for each in set(ids) if ids.count(each) > 1]
            raise DuplicateEvent(writes[0].stream, twice)
    return events, size


def _place(write: StreamWrite, version: int, position: int | None, recorded_at: str | None) -> Appended:
    return Appended(write.stream, version, position or 0, datetime.fromisoformat(recorded_at) if recorded_at else None)


def _refusal(outcome: dict[str, Any]) -> FrameworkError:
    match outcome["became"]:
        case "answered":
            return ReceiptTaken([UUID(each) for each in outcome["ids"]])
        case "duplicate":
            return DuplicateEvent(outcome["stream"], [UUID(each) for each in outcome["ids"]])
        case "deleted":
            return StreamDeleted(outcome["stream"])
        case _:
            return WrongExpectedVersion(outcome["stream"], Expected.describe(outcome["expected"]), outcome["actual"])


def _unforeseen(error: asyncpg.PostgresError) -> FrameworkError:
    return AppendRefused(f"the database refused the append: {describe(error)}")
