"""The reference store: a log in this process's memory, for tests and for what need not last.

No method awaits between looking and acting, so each is atomic without a lock, and none is cancelled half way.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any, Self, TypeGuard
from uuid import UUID

from framework.clock import SYSTEM_CLOCK, Clock
from framework.errors import (
    DuplicateEvent,
    ProgressMoved,
    ReceiptTaken,
    StorageUnavailable,
    WrongExpectedVersion,
)
from framework.store.protocol import (
    Appended,
    Expected,
    InstanceRow,
    LogPage,
    NewEvent,
    OutboxRow,
    ProcessChange,
    Receipt,
    StoredEvent,
    StreamWrite,
)

if TYPE_CHECKING:
    from types import TracebackType


class MemoryEventStore:
    """An `EventStore` whose events last as long as it does.

    It may be entered again, and then holds what it held; whoever enters it while it is open shares it.
    Outside `async with` everything works but waiting.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        # Not from the given clock: a manual one would give every log of every test the same name.
        self._log_id = SYSTEM_CLOCK.new_id()
        self._users = 0
        self._log: list[StoredEvent] = []
        self._streams: dict[str, list[StoredEvent]] = {}
        # By the ids' integers: a UUID's own hash and comparison are Python, and cost more than all else here.
        self._events: dict[int, StoredEvent] = {}
        self._receipts: dict[int, Receipt] = {}
        self._checkpoints: dict[str, int] = {}
        self._instances: defaultdict[str, dict[str, InstanceRow]] = defaultdict(dict)
        self._outboxes: defaultdict[str, dict[UUID, OutboxRow]] = defaultdict(dict)
        """Each in the order of sending."""
        self._last_number = 0
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def log_id(self) -> UUID:
        """Tells this log from every other."""
        return self._log_id

    @property
    def namespace(self) -> str:
        """What read models of this log are called by; unique, since the next process has another log."""
        return f"memory_{self._log_id.hex[-12:]}"

    @property
    def read_database(self) -> str | None:
        """None: there is no database here."""
        return None

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._users -= 1
        if not self._users:
            self._wake()

    # The log ----------------------------------------------------------------------------------------

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        """Record the events of all *writes* and the *receipts*, all or nothing, and say where they went."""
        events = [event for write in writes for event in write.events]
        _check_request(writes, events, receipts)
        ids = [event.event_id.int for event in events]
        if not self._events.keys().isdisjoint(ids) or not self._receipts.keys().isdisjoint(
            [receipt.command_id.int for receipt in receipts]
        ):
            return self._answer_again(writes, events, receipts)
        if len(set(ids)) < len(ids):
            twice = [event.event_id for event in events if ids.count(event.event_id.int) > 1]
            raise DuplicateEvent(_stream_of(writes, twice[0]), twice)
        for write in writes:
            self._check_expected(write)
        appended = self._record(writes)
        for receipt in receipts:
            self._receipts[receipt.command_id.int] = receipt
        if events:
            self._wake()
        return appended

    async def read_stream(
        self, stream: str, *, after: int = 0, until: int | None = None, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* events of *stream* in order, those with `after < version <= until`."""
        after = max(after, 0)
        stop = after + limit if until is None else min(after + limit, max(until, 0))
        return self._streams.get(stream, [])[after:stop]

    async def read_log(self, *, after: int = 0, limit: int = 1_000, types: Collection[str] | None = None) -> LogPage:
        """Return at most *limit* events with a position above *after*, in order, only of *types* if given."""
        head = len(self._log)
        events: list[StoredEvent] = []
        looked_to = after
        # By index and not by a slice, which would copy the rest of the log for every page.
        for index in range(max(after, 0), head):
            if len(events) == limit:
                break
            event = self._log[index]
            looked_to = event.position
            if types is None or event.type in types:
                events.append(event)
        return LogPage(events, looked_to, head)

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
            # One future for each who waits: a cancelled task cancels what it awaits, which must be its own.
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return len(self._log)

    async def receipts(self, command_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """Return the receipts there are for *command_ids*."""
        found = (self._receipts.get(command_id.int) for command_id in command_ids)
        return {receipt.command_id: receipt for receipt in found if receipt is not None}

    def _check_expected(self, write: StreamWrite) -> None:
        actual = len(self._streams.get(write.stream, ()))
        match write.expected:
            case Expected.ANY:
                is_met = True
            case Expected.STREAM_EXISTS:
                is_met = actual > 0
            case version:
                is_met = actual == version
        if not is_met:
            raise WrongExpectedVersion(write.stream, Expected.describe(write.expected), actual)

    def _record(self, writes: Sequence[StreamWrite]) -> tuple[Appended, ...]:
        recorded_at = self._clock.now()
        if self._log:
            recorded_at = max(recorded_at, self._log[-1].recorded_at)
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
        kept = self._receipts.get(receipt.command_id.int)
        return kept is not None and kept[:-1] == receipt[:-1] and _is_same_refusal(kept.refusal, receipt.refusal)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # Checkpoints ------------------------------------------------------------------------------------

    async def load_checkpoint(self, name: str) -> int:
        """Return the position that *name* has passed; 0 if it never saved one."""
        return self._checkpoints.get(name, 0)

    async def save_checkpoint(self, name: str, position: int, *, expected: int) -> None:
        """Move *name* from *expected* to *position*; raises `ProgressMoved` if it stands elsewhere."""
        if self._checkpoints.get(name, 0) != expected:
            raise ProgressMoved(name, expected)
        self._checkpoints[name] = position

    # Processes --------------------------------------------------------------------------------------

    async def load_instances(self, process: str, instances: Collection[str]) -> Mapping[str, InstanceRow]:
        """Return the instances there are among *instances*."""
        rows = self._instances[process]
        return {instance: rows[instance] for instance in instances if instance in rows}

    async def advance_process(self, process: str, change: ProcessChange, *, position: int, expected: int) -> None:
        """Apply *change* and move *process* from *expected* to *position*; raises `ProgressMoved`."""
        await self.save_checkpoint(process, position, expected=expected)
        self._save_instances(process, change)
        outbox = self._outboxes[process]
        for row in change.commands:
            self._last_number += 1
            outbox[row.command_id] = row._replace(process=process, number=self._last_number, piece=0)

    async def outbox(self, process: str, *, limit: int) -> Sequence[OutboxRow]:
        """Return at most *limit* commands to send, oldest first."""
        held_back: set[str] = set()
        rows: list[OutboxRow] = []
        for row in self._outboxes[process].values():
            if len(rows) == limit:
                break
            if row.parked is not None:
                held_back.add(row.instance)
            elif row.instance not in held_back:
                rows.append(row)
        return rows

    async def parked(self, process: str) -> Sequence[OutboxRow]:
        """Return the parked commands, oldest first."""
        return [row for row in self._outboxes[process].values() if row.parked is not None]

    async def settle(self, process: str, command_ids: Collection[UUID]) -> None:
        """Remove commands that have had their answer from the outbox."""
        outbox = self._outboxes[process]
        for command_id in command_ids:
            outbox.pop(command_id, None)

    async def settle_refused(self, row: OutboxRow, change: ProcessChange) -> bool:
        """Put what a process made of a refused command in its place; False if it is settled already."""
        outbox = self._outboxes[row.process]
        if row.command_id not in outbox:
            return False
        self._save_instances(row.process, change)
        self._outboxes[row.process] = _replaced(outbox, row.command_id, change.commands)
        return True

    async def park(self, row: OutboxRow, reason: str) -> None:
        """Set *row* aside with the *reason*; later commands of its instance wait behind it."""
        outbox = self._outboxes[row.process]
        if (waiting := outbox.get(row.command_id)) is not None:
            outbox[row.command_id] = waiting._replace(parked=reason)

    def _save_instances(self, process: str, change: ProcessChange) -> None:
        rows = self._instances[process]
        for saved in change.saved:
            rows[saved.instance] = saved
        for instance in change.removed:
            rows.pop(instance, None)


def _replaced(outbox: Mapping[UUID, OutboxRow], refused: UUID, commands: Iterable[OutboxRow]) -> dict[UUID, OutboxRow]:
    """Return *outbox* with *commands* where *refused* was, and the pieces of its number counted anew."""
    place = outbox[refused]
    rows: list[OutboxRow] = []
    pieces = count(1)
    for row in outbox.values():
        if row.command_id == refused:
            rows += [new._replace(process=place.process, number=place.number, piece=next(pieces)) for new in commands]
        elif row.number == place.number:
            rows.append(row._replace(piece=next(pieces)))
        else:
            rows.append(row)
    return {row.command_id: row for row in rows}


def _stream_of(writes: Iterable[StreamWrite], event_id: UUID) -> str:
    return next(write.stream for write in writes for event in write.events if event.event_id == event_id)


# What an append may ask for -----------------------------------------------------------------------------


def _check_request(writes: Sequence[StreamWrite], events: Sequence[NewEvent], receipts: Sequence[Receipt]) -> None:
    """Raise `ValueError` for what no log can record."""
    for write in writes:
        _check_stream(write.stream)
        if write.expected < Expected.STREAM_EXISTS:
            message = f"{write.stream}: {write.expected} is neither a version nor one of Expected"
            raise ValueError(message)
    if len(writes) > 1:
        _check_distinct("streams", [write.stream for write in writes])
    if len(receipts) > 1:
        _check_distinct("command ids", [str(receipt.command_id) for receipt in receipts])
    for event in events:
        if _NUL in event.data or _NUL in event.metadata:
            _check_text(event)


def _check_stream(stream: str) -> None:
    if not stream or "\0" in stream:
        message = f"{stream!r} is no name for a stream"
        raise ValueError(message)
    if not stream.isascii():
        stream.encode()  # a lone surrogate raises UnicodeEncodeError, which is a ValueError


def _check_distinct(what: str, values: Sequence[str]) -> None:
    if len(set(values)) < len(values):
        message = f"an append names each once, but these {what} came: {', '.join(values)}"
        raise ValueError(message)


_NUL = rb"\u0000"
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def _check_text(event: NewEvent) -> None:
    # A database's text cannot hold NUL. The escape counts only where its backslash is not itself escaped.
    if _ESCAPED_NUL.search(event.data) or _ESCAPED_NUL.search(event.metadata):
        message = f"event {event.event_id} ({event.type}) has a NUL in its text"
        raise ValueError(message)


# Whether two things are the same --------------------------------------------------------------------------


def _is_same_event(stored: StoredEvent, event: NewEvent) -> bool:
    return (
        (stored.type, stored.type_version, stored.correlation_id, stored.causation_id)
        == (event.type, event.type_version, event.correlation_id, event.causation_id)
        and _is_same_json(stored.data, event.data)
        and _is_same_json(stored.metadata, event.metadata)
    )


def _is_same_refusal(one: bytes | None, other: bytes | None) -> bool:
    if one is None or other is None:
        return one is other
    return _is_same_json(one, other)


def _is_same_json(one: bytes, other: bytes) -> bool:
    return one == other or _is_same_value(_json_value(one), _json_value(other))


def _json_value(document: bytes) -> Any:
    return json.loads(document, parse_int=Decimal, parse_float=Decimal)


def _is_same_value(one: Any, other: Any) -> bool:
    """Compare as JSON does: `true` is not 1, 1 is 1.0, and keys have no order."""
    if type(one) is not type(other):
        return False
    if _is_object(one):
        return one.keys() == other.keys() and all(_is_same_value(one[key], other[key]) for key in one)
    if _is_array(one):
        return len(one) == len(other) and all(map(_is_same_value, one, other))
    return bool(one == other)


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
