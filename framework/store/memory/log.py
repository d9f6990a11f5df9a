"""The log of a store in memory: appended to, and read in every way."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from operator import attrgetter
from uuid import UUID

from framework.clock import Clock
from framework.errors import (
    AppendRefused,
    DuplicateEvent,
    ReceiptTaken,
    StorageUnavailable,
    StreamDeleted,
    WrongExpectedVersion,
)
from framework.store.documents import fault_of, is_same_json
from framework.store.protocol import (
    Appended,
    Decide,
    Expected,
    LogPage,
    NewEvent,
    Receipt,
    Snapshot,
    StoredEvent,
    StreamWrite,
)
from framework.store.validation import check_append, check_filter, check_limit, check_moment, check_text, within


class MemoryLog:
    """`EventLog` and `History` over lists.

    No method awaits between looking and acting, so each is atomic without a lock, and none is cancelled half way.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._users = 0
        self._log: list[StoredEvent] = []
        self._streams: dict[str, list[StoredEvent]] = {}
        self._deleted: dict[str, datetime] = {}
        # By the ids' integers: a UUID's own hash and comparison are Python, and cost more than all else here.
        self._events: dict[int, StoredEvent] = {}
        self._receipts: dict[int, tuple[Receipt, datetime]] = {}
        self._snapshots: dict[str, dict[tuple[int, str, int], Snapshot]] = {}
        self._waiters: set[asyncio.Future[None]] = set()

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        """Record the events of all *writes* and the *receipts*, all or nothing, and say where they went."""
        check_append(writes, receipts)
        events = [event for write in writes for event in write.events]
        _check_documents(writes, receipts)
        ids = [event.event_id.int for event in events]
        if not self._events.keys().isdisjoint(ids) or not self._receipts.keys().isdisjoint(
            [receipt.command_id.int for receipt in receipts]
        ):
            return self._answer_again(writes, events, receipts)
        for write in writes:
            self._check_expected(write)
        recorded_at = self._time()
        appended = self._record(writes, recorded_at)
        for receipt in receipts:
            self._receipts[receipt.command_id.int] = receipt, recorded_at
        if events:
            self._wake()
        return appended

    async def append_in_turn(self, after: Mapping[str, int], decide: Decide) -> tuple[Appended, ...]:
        """Record what *decide* makes of some streams, while nobody else can append."""
        writes, receipts = decide({stream: self._open(stream)[within(version) :] for stream, version in after.items()})
        return await self.append(writes, receipts)

    async def read_stream(
        self, stream: str, *, after: int = 0, until: int | None = None, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* events of *stream* in order, those with `after < version <= until`."""
        check_limit(limit)
        after = within(after)
        stop = after + limit if until is None else min(after + limit, within(until))
        return self._open(stream)[after:stop]

    async def read_stream_backward(
        self, stream: str, *, before: int | None = None, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* events of *stream* from its end down, or from below the version *before*."""
        check_limit(limit)
        events = self._open(stream)
        end = len(events) if before is None else min(within(before - 1), len(events))
        return events[max(end - limit, 0) : end][::-1]

    async def read_log(
        self, *, after: int = 0, limit: int = 1_000, types: Collection[str] | None = None, prefix: str = ""
    ) -> LogPage:
        """Return at most *limit* events with a position above *after*, in order, as far as they are wanted."""
        after = within(after)
        # By index and not by a slice, which would copy the rest of the log for every page.
        events = self._wanted(range(after, len(self._log)), limit, types, prefix)
        looked_to = events[-1].position if len(events) == limit else max(after, len(self._log))
        return LogPage(events, looked_to, len(self._log))

    async def read_log_backward(
        self,
        *,
        before: int | None = None,
        limit: int = 1_000,
        types: Collection[str] | None = None,
        prefix: str = "",
    ) -> LogPage:
        """Return at most *limit* events from the head down, or from below *before*, as far as they are wanted."""
        end = len(self._log) if before is None else min(within(before - 1), len(self._log))
        events = self._wanted(range(end - 1, -1, -1), limit, types, prefix)
        return LogPage(events, events[-1].position if len(events) == limit else 1, len(self._log))

    async def read_events(self, event_ids: Collection[UUID]) -> Sequence[StoredEvent]:
        """Return the events there are under *event_ids*, in the order of the log."""
        found = {stored.position: stored for each in event_ids if (stored := self._events.get(each.int)) is not None}
        return [found[position] for position in sorted(found)]

    async def read_correlated(
        self, correlation_id: UUID, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* events of that correlation with positions above *after*, in order."""
        check_limit(limit)
        later = islice(self._log, within(after), None)
        return list(islice((event for event in later if event.correlation_id == correlation_id), limit))

    async def position_at(self, moment: datetime) -> int:
        """Return the last position that was recorded at *moment* or before; 0 if none was."""
        check_moment(moment)
        return bisect_right(self._log, moment, key=attrgetter("recorded_at"))

    async def version_at(self, stream: str, moment: datetime) -> int:
        """Return the version that *stream* had at *moment*; 0 if it had no events yet."""
        check_moment(moment)
        return bisect_right(self._open(stream), moment, key=attrgetter("recorded_at"))

    async def head(self) -> int:
        """Return the last position of the log; 0 for an empty one."""
        return len(self._log)

    async def wait_beyond(self, position: int) -> int:
        """Return the head once it lies above *position*.

        Raises `StorageUnavailable` if the store is closed, or is closed before that. Cancellation is safe.
        """
        while len(self._log) <= position:
            if not self._users:
                message = f"the store is closed: nothing will come after position {position}"
                raise StorageUnavailable(message)
            await self.growth(position)
        return len(self._log)

    @property
    def woken_by(self) -> str | None:
        """How it was last heard that the log has grown."""
        return "append" if self._log else None

    def growth(self, position: int) -> asyncio.Future[None]:
        """Return a future that is done once the head may lie above *position*."""
        # One for each who waits: a cancelled task cancels what it awaits, which must be its own.
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if len(self._log) > position or not self._users:
            waiter.set_result(None)
        else:
            self._waiters.add(waiter)
            waiter.add_done_callback(self._waiters.discard)
        return waiter

    async def receipts(self, command_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """Return the receipts there are for *command_ids*."""
        found = (self._receipts.get(command_id.int) for command_id in command_ids)
        return {kept[0].command_id: kept[0] for kept in found if kept is not None}

    def _open(self, stream: str) -> list[StoredEvent]:
        """Return the events of a stream that may be read; raises `StreamDeleted`."""
        check_text("a stream", stream)
        if stream in self._deleted:
            raise StreamDeleted(stream)
        return self._streams.get(stream, [])

    def _wanted(
        self, indices: Iterable[int], limit: int, types: Collection[str] | None, prefix: str
    ) -> list[StoredEvent]:
        check_limit(limit)
        check_filter(types, prefix)
        events = (self._log[index] for index in indices)
        return list(
            islice(
                (e for e in events if (types is None or e.type in types) and e.stream.startswith(prefix)),
                limit,
            )
        )

    def _time(self) -> datetime:
        """Return the present moment, but none before that of the last event."""
        now = self._clock.now()
        return max(now, self._log[-1].recorded_at) if self._log else now

    def _check_expected(self, write: StreamWrite) -> None:
        if write.stream in self._deleted:
            raise StreamDeleted(write.stream)
        actual = len(self._streams.get(write.stream, ()))
        if not Expected.is_met(write.expected, actual):
            raise WrongExpectedVersion(write.stream, Expected.describe(write.expected), actual)

    def _record(self, writes: Sequence[StreamWrite], recorded_at: datetime) -> tuple[Appended, ...]:
        answers: list[Appended] = []
        for write in writes:
            stream = self._streams.setdefault(write.stream, []) if write.events else []
            for event in write.events:
                stored = StoredEvent(len(self._log) + 1, write.stream, len(stream) + 1, *event, recorded_at)
                stream.append(stored)
                self._log.append(stored)
                self._events[event.event_id.int] = stored
            answers.append(self._answer(write, stream[-1] if stream else None))
        return tuple(answers)

    def _answer(self, write: StreamWrite, last: StoredEvent | None) -> Appended:
        if last is not None:
            return Appended(write.stream, last.version, last.position, last.recorded_at)
        stream = self._streams.get(write.stream)
        if stream:
            return Appended(write.stream, stream[-1].version, stream[-1].position, None)
        return Appended(write.stream, 0, 0, None)

    def _answer_again(
        self, writes: Sequence[StreamWrite], events: Sequence[NewEvent], receipts: Sequence[Receipt]
    ) -> tuple[Appended, ...]:
        """Answer an append of which something is recorded: as before if all of it is, or with an error."""
        if self._are_recorded(writes) and all(map(self._is_kept, receipts)):
            return tuple(
                self._answer(write, self._events[write.events[-1].event_id.int] if write.events else None)
                for write in writes
            )
        # Before the events: those of a command that is decided again have the ids they had, and may differ.
        if taken := [r.command_id for r in receipts if r.command_id.int in self._receipts]:
            raise ReceiptTaken(taken)
        known = [self._events[e.event_id.int] for e in events if e.event_id.int in self._events]
        raise DuplicateEvent(_stream_of(writes, known[0].event_id), [stored.event_id for stored in known])

    def _are_recorded(self, writes: Sequence[StreamWrite]) -> bool:
        """Return whether all events of *writes* are in the log, side by side and in this order."""
        before: StoredEvent | None = None
        for write in writes:
            for event in write.events:
                stored = self._events.get(event.event_id.int)
                if stored is None or stored.stream != write.stream or not _is_same_event(stored, event):
                    return False
                if before is not None and stored.position != before.position + 1:
                    return False
                before = stored
        return True

    def _is_kept(self, receipt: Receipt) -> bool:
        kept, _ = self._receipts.get(receipt.command_id.int, (None, None))
        return kept is not None and kept[:-1] == receipt[:-1] and _is_same_refusal(kept.refusal, receipt.refusal)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def _stream_of(writes: Iterable[StreamWrite], event_id: UUID) -> str:
    return next(write.stream for write in writes for event in write.events if event.event_id == event_id)


def _is_same_event(stored: StoredEvent, event: NewEvent) -> bool:
    return (
        (stored.type, stored.type_version, stored.correlation_id, stored.causation_id)
        == (event.type, event.type_version, event.correlation_id, event.causation_id)
        and is_same_json(stored.data, event.data)
        and is_same_json(stored.metadata, event.metadata)
    )


def _is_same_refusal(one: bytes | None, other: bytes | None) -> bool:
    if one is None or other is None:
        return one is other
    return is_same_json(one, other)


def _check_documents(writes: Sequence[StreamWrite], receipts: Sequence[Receipt]) -> None:
    for write in writes:
        for event in write.events:
            if fault := fault_of(event.data) or fault_of(event.metadata):
                raise AppendRefused(f"{write.stream}: event {event.event_id} ({event.type}) {fault}")
    for receipt in receipts:
        if receipt.refusal is not None and (fault := fault_of(receipt.refusal)):
            raise AppendRefused(f"{receipt.stream}: the refusal of command {receipt.command_id} {fault}")
