"""What a store of events promises, and the records it speaks in.

A store knows nothing of domain classes: payloads are JSON in bytes. `framework.testing.store_contract` is this
protocol as tests, and every store passes it.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, TypeAlias
from uuid import UUID

import attrs

from framework.store.health import StoreHealth
from framework.store.streams import Streams
from framework.store.subscriptions import Lease, ParkedEvent, Subscriptions, hash_of

if TYPE_CHECKING:
    from types import TracebackType


class Expected(enum.IntEnum):
    """What a writer believes of a stream: one of these, or the exact version it has seen."""

    NO_STREAM = 0
    """The stream has no events."""
    ANY = -1
    """Nothing."""
    STREAM_EXISTS = -2
    """The stream has at least one event."""

    @staticmethod
    def is_met(expected: int, version: int) -> bool:
        """Say whether a stream at *version* is as *expected*."""
        match expected:
            case Expected.ANY:
                return True
            case Expected.STREAM_EXISTS:
                return version > 0
            case _:
                return version == expected

    @staticmethod
    def describe(expected: int) -> str:
        """Return *expected* in words, for a message."""
        match expected:
            case Expected.NO_STREAM:
                return "no stream"
            case Expected.ANY:
                return "anything"
            case Expected.STREAM_EXISTS:
                return "an existing stream"
            case _:
                return f"version {expected}"


# The records are named tuples because they are made once per event on the hottest paths, where a frozen class of
# ten fields takes several times as long to build.


class NewEvent(NamedTuple):
    """An event to be appended."""

    event_id: UUID
    type: str
    type_version: int
    data: bytes
    """A JSON document."""
    metadata: bytes
    """A JSON object."""
    correlation_id: UUID
    causation_id: UUID


class StoredEvent(NamedTuple):
    """An event as it was recorded."""

    position: int
    """Place in the log: 1, 2, 3 … without a gap, in the order of commits."""
    stream: str
    version: int
    """Place in the stream: 1, 2, 3 …"""
    event_id: UUID
    type: str
    type_version: int
    data: bytes
    metadata: bytes
    correlation_id: UUID
    causation_id: UUID
    recorded_at: datetime
    """By the store's clock; never earlier than that of the position before."""


class Receipt(NamedTuple):
    """The answer a command was given under its id, kept so that a repeat is answered alike."""

    command_id: UUID
    digest: bytes
    """Tells this command from another one under the same id."""
    stream: str
    first_version: int
    """The version of the command's first event; where it led to none, the version it was decided at, plus one."""
    event_count: int
    """How many events it led to."""
    refusal: bytes | None = None
    """A JSON object that describes the refusal; None where the command was accepted."""


@attrs.frozen
class StreamWrite:
    """Events for one stream, and what their writer believes of it."""

    stream: str
    expected: int
    """An exact version, or one of `Expected`."""
    events: Sequence[NewEvent]


@attrs.frozen
class Appended:
    """Where the events of one `StreamWrite` were recorded."""

    stream: str
    version: int
    """The version of the last of them."""
    position: int
    """The position of the last of them; they lie side by side."""
    recorded_at: datetime | None
    """When; None where there was no event to record."""


Decide: TypeAlias = Callable[[Mapping[str, Sequence[StoredEvent]]], tuple[Sequence[StreamWrite], Sequence[Receipt]]]
"""From the events of some streams, by stream, to what is to be appended."""


@attrs.frozen
class LogPage:
    """Some events of the log, and how far the store looked for them."""

    events: Sequence[StoredEvent]
    looked_to: int
    """Everything wanted between where the page began and this position, inclusive, is in it; where to go on from."""
    head: int
    """The last position of the log as the page was read."""


class EventLog(Protocol):
    """Streams of events, and the one log of them all."""

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        """Record the events of all *writes* and the *receipts*, all or nothing, and say where they went.

        The events take positions side by side, in the order given. A stream may stand in *writes* once. Returns when
        they are durable. An append that repeats one recorded before, with the same event ids, contents and receipts,
        records nothing and answers as the first did.

        Raises `WrongExpectedVersion`, `StreamDeleted`, `DuplicateEvent` (an id is taken by something else),
        `ReceiptTaken` (a command was answered already), `InvalidRequest` (no append can be such) or `AppendRefused` (no
        database holds such an event): nothing was recorded. Raises `StorageUnavailable` where
        nothing was recorded because the database could not be reached, and `OutcomeUnknown` where that cannot be
        said. Cancellation withdraws an append that was not sent yet; one that was sent runs to its end.
        """
        ...

    async def append_in_turn(self, after: Mapping[str, int], decide: Decide) -> tuple[Appended, ...]:
        """Record what *decide* makes of some streams, while nobody else can append.

        It is called once, with the events of each stream behind its version in *after*, oldest first, and returns what
        to append; if that is nothing, nothing was added to those streams when it was called. All writers of the log
        wait for it: it has to be quick, and cannot await. Those who ask for their turn get it in the order of asking.

        Raises what `append` does, and what *decide* does: nothing was recorded. `StorageUnavailable` is raised as soon
        as the database cannot be reached. Cancellation records nothing, unless COMMIT was on its way.
        """
        ...

    async def read_stream(
        self, stream: str, *, after: int = 0, until: int | None = None, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* events of *stream* in order, those with `after < version <= until`.

        A stream that nobody wrote to has none. Raises `StreamDeleted`.
        """
        ...

    async def read_stream_backward(
        self, stream: str, *, before: int | None = None, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* events of *stream* from its end down, or from below the version *before*.

        A stream that nobody wrote to has none. Raises `StreamDeleted`.
        """
        ...

    async def read_log(
        self, *, after: int = 0, limit: int = 1_000, types: Collection[str] | None = None, prefix: str = ""
    ) -> LogPage:
        """Return at most *limit* events with a position above *after*, in order.

        Only those of *types* if given, and only of streams whose names begin with *prefix*. A page looks at a bounded
        part of the log, so that one of rare events may be short, or empty, far from the head: `looked_to` says where
        to go on. Deleted streams are in the log like any other.
        """
        ...

    async def read_log_backward(
        self,
        *,
        before: int | None = None,
        limit: int = 1_000,
        types: Collection[str] | None = None,
        prefix: str = "",
    ) -> LogPage:
        """Return at most *limit* events from the head down, or from below the position *before*.

        As `read_log` otherwise; `looked_to` is 1 when there is nothing more to come, and else where to go on *before*.
        """
        ...

    async def head(self) -> int:
        """Return the last position of the log; 0 for an empty one."""
        ...

    async def wait_beyond(self, position: int) -> int:
        """Return the head once it is known to lie above *position*.

        A lost notification delays this by the poll, about a second; nothing is ever missed. Cancellation is safe.
        """
        ...

    @property
    def woken_by(self) -> str | None:
        """How it was last heard that the log has grown; None while it has not.

        `append` of this process, `notification` of another one, `reconnect` where notifications had been cut off, or
        `poll` where none came.
        """
        ...

    def growth(self, position: int) -> asyncio.Future[None]:
        """Return a future that is done once the head may lie above *position*, as with `wait_beyond`.

        It is for those who would not keep a task for it. Cancel it when it is of no use any more.
        """
        ...

    async def receipts(self, command_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """Return the receipts there are for *command_ids*."""
        ...

    async def prune_receipts(self, before: datetime) -> int:
        """Forget the receipts written before that moment, and say how many.

        Those of commands that a process has yet to send stay: sent again, such a command must find its answer. It is
        done a part at a time, and cancellation leaves done what is done.
        """
        ...


class History(Protocol):
    """The log looked into otherwise than in its order."""

    async def read_events(self, event_ids: Collection[UUID]) -> Sequence[StoredEvent]:
        """Return the events there are under *event_ids*, in the order of the log."""
        ...

    async def read_correlated(
        self, correlation_id: UUID, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* of what one first command led to: its events with positions above *after*, in order.

        Their causes make a tree of them.
        """
        ...

    async def position_at(self, moment: datetime) -> int:
        """Return the last position that was recorded at *moment* or before; 0 if none was."""
        ...

    async def version_at(self, stream: str, moment: datetime) -> int:
        """Return the version that *stream* had at *moment*; 0 if it had no events yet. Raises `StreamDeleted`."""
        ...


class Snapshot(NamedTuple):
    """A state as it was after one event of its stream: a shortcut, and never the only copy of anything."""

    stream: str
    version: int
    """The version of the last event that is folded into it."""
    state_type: str
    state_version: int
    """Of the state's own shape: a snapshot of another shape is passed over, not read."""
    state: bytes
    """A JSON document."""
    taken_at: datetime


class Snapshots(Protocol):
    """States kept beside their streams, so that not every event has to be folded again."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep *snapshot*, in the place of the one there may be of that type, shape and version.

        Raises `WrongExpectedVersion` if its stream has not come to its version, and `StreamDeleted`.
        """
        ...

    async def load_snapshot(
        self, stream: str, state_type: str, state_version: int, *, until: int | None = None
    ) -> Snapshot | None:
        """Return the latest snapshot of that type and shape, at most at version *until*; None if there is none.

        A deleted stream has none.
        """
        ...

    async def delete_snapshots(self, stream: str, *, until: int | None = None) -> None:
        """Forget the snapshots of *stream*, those of versions up to *until* if it is given."""
        ...


class InstanceRow(NamedTuple):
    """What is stored of one instance of a process."""

    instance: str
    version: int
    """How many events it has handled."""
    state: bytes | None
    """A JSON object; None for one that is finished, of which this is all there is."""


class OutboxRow(NamedTuple):
    """A command that a process has yielded and that is not settled yet."""

    process: str
    instance: str
    number: int
    """The order of an instance's commands, given by the store."""
    piece: int
    """The order of commands that stand in the place of a refused one; 0 for those that came from an event."""
    command_id: UUID
    command_type: str
    command: bytes
    """A JSON object."""
    correlation_id: UUID
    causation_id: UUID
    """The id of the event, or of the refused command, that it was yielded for."""
    parked: str | None = None
    """Why it is not sent any more; None while it waits for its turn."""
    timer: str | None = None
    """The key that it was scheduled under, and can be withdrawn by until it is sent; None for one yielded as it is."""


class TimerRow(NamedTuple):
    """A command that is to be sent later."""

    due_at: datetime
    command: OutboxRow
    """As it is put into the outbox then; its `timer` is the key, of which an instance has one at a time."""


class Withdrawal(NamedTuple):
    """What an instance does not want sent any more, of what it has scheduled."""

    instance: str
    timer: str | None
    """The key; None for all that it has."""


class Pending(NamedTuple):
    """A command that a process has yielded or scheduled, and that has no answer yet."""

    due_at: datetime | None
    """When it is to be sent; None once it waits for its turn."""
    command: OutboxRow


class Part(NamedTuple):
    """The instances of a process that fall into one slot, and the right to act for them."""

    lease: Lease
    partitions: int
    """How many slots the process has."""

    def has(self, instance: str) -> bool:
        """Say whether *instance* falls into the slot."""
        return hash_of(instance) % self.partitions == self.lease.slot


@attrs.frozen
class ProcessChange:
    """What handling some events, or a refusal, did to the instances of a process."""

    saved: Sequence[InstanceRow] = ()
    commands: Sequence[OutboxRow] = ()
    """Commands to send from now on; the store gives them their numbers in this order."""
    withdrawn: Collection[Withdrawal] = ()
    """Timers to forget, those included that are due and whose commands wait to be sent; parked ones stay."""
    timers: Sequence[TimerRow] = ()
    """Commands to send later, each in the place of what was scheduled under its key before, which is withdrawn."""
    parked: Sequence[ParkedEvent] = ()
    """Events to set aside, or what is new of those that are; a refusal has none."""
    released: Sequence[ParkedEvent] = ()
    """Those that are set aside no longer."""
    drops_rest: bool = False
    """Whether what was yielded together with a refused command, and waits behind it, is not to be sent either."""


class ProcessStore(Protocol):
    """The state of process managers and the commands they have yet to send.

    What is done for a `Part` concerns its instances alone, and raises `LeaseLost` where its lease is not good any more:
    nothing was changed then. Without one it is done for all instances, whoever asks.
    """

    async def load_instances(self, process: str, instances: Collection[str]) -> Mapping[str, InstanceRow]:
        """Return the instances there are among *instances*, those that are finished included."""
        ...

    async def advance_process(self, lease: Lease, change: ProcessChange, *, position: int) -> None:
        """Apply *change* to the process that *lease* names and move its slot to *position*, all or nothing.

        Raises `LeaseLost`, and has changed nothing then.
        """
        ...

    async def instances(self, process: str, *, after: str = "", limit: int = 1_000) -> Sequence[InstanceRow]:
        """Return at most *limit* instances of *process* named above *after*, in order, without the finished."""
        ...

    async def ask_to_stop(self, process: str, instance: str) -> bool:
        """Note that *instance* is to end, until it has, and say whether it runs."""
        ...

    async def asked_to_stop(self, process: str) -> Sequence[str]:
        """Return the instances of *process* that are to end, in order."""
        ...

    async def change_process(self, process: str, change: ProcessChange) -> int:
        """Apply *change* to a *process* that has no slots, all or nothing; return how many commands it withdrew.

        Of changes to one instance, settled ones included, the later finds what the earlier left.
        """
        ...

    async def pending(self, process: str, *, after: str = "", limit: int = 1_000) -> Sequence[Pending]:
        """Return what instances named above *after* have scheduled, wait to have sent, or have parked.

        All of it as of one moment: by instance, in the order of sending, and then of time. It is *limit* commands, and
        more where the last instance has more.
        """
        ...

    async def pending_of(self, process: str, instance: str) -> Sequence[Pending]:
        """Return what *instance* has scheduled, waits to have sent, or has parked, in the order of `pending`."""
        ...

    async def outbox(
        self, process: str, *, limit: int, part: Part | None = None, but: Collection[str] = ()
    ) -> Sequence[OutboxRow]:
        """Return at most *limit* commands to send, oldest first, and none of the instances *but*.

        Parked commands, and those queued behind a parked one of their instance, are left out. Nobody's lease is looked
        at.
        """
        ...

    async def fire(self, process: str, *, until: datetime, limit: int, part: Part | None = None) -> datetime | None:
        """Put the commands that are due at *until*, or were before, into the outbox: at most *limit*, earliest first.

        Returns when the next is due of those that are left; None if there are none.
        """
        ...

    async def is_waiting(self, process: str, command_id: UUID) -> bool:
        """Say whether that command is in the outbox, neither settled nor withdrawn."""
        ...

    async def timers(self, process: str, instances: Collection[str] | None = None) -> Sequence[TimerRow]:
        """Return what is scheduled and not due yet, of *instances* or of all, earliest first."""
        ...

    async def parked(self, process: str) -> Sequence[OutboxRow]:
        """Return the parked commands, oldest first."""
        ...

    async def settle(self, process: str, command_ids: Collection[UUID], *, part: Part | None = None) -> None:
        """Remove commands that have had their answer from the outbox."""
        ...

    async def settle_refused(self, row: OutboxRow, change: ProcessChange, *, part: Part | None = None) -> bool:
        """Remove a refused command and apply what its process made of it, all or nothing.

        The new commands take the place of the refused one, before those of the instance that wait. Returns False, and
        changes nothing, if the command is settled already.
        """
        ...

    async def park(self, row: OutboxRow, reason: str, *, part: Part | None = None) -> None:
        """Set *row* aside with the *reason*; later commands of its instance wait behind it."""
        ...


class AuditedCommand(NamedTuple):
    """A command that somebody wants to have decided, as it is written down before it is."""

    command_id: UUID
    correlation_id: UUID
    causation_id: UUID | None
    """What caused it; None at the start of a chain."""
    type: str
    data: bytes
    """A JSON object."""
    metadata: bytes
    """A JSON object."""


class AuditedOutcome(NamedTuple):
    """What became of a command."""

    outcome: str
    """`accepted`, `refused`, `failed`, or `unknown` where it may or may not have been recorded."""
    stream: str | None = None
    version: int | None = None
    """The stream's version after an accepted command."""
    error: str | None = None
    """The name of the error that was raised instead."""
    reason: str | None = None
    """Its message."""


class AuditEntry(NamedTuple):
    """One dispatch of a command, as the audit has it."""

    number: int
    asked_at: datetime
    """By the store's clock."""
    command: AuditedCommand
    answered_at: datetime | None
    outcome: AuditedOutcome | None
    """None while it is not known; it stays so if the caller stopped waiting, or its process died."""


class CommandAudit(Protocol):
    """What was asked for, by whom it was caused, and what became of it: a row for every dispatch."""

    async def open_audit(self, command: AuditedCommand) -> int:
        """Write down *command*, durably, and return the number of its entry."""
        ...

    async def close_audit(self, number: int, outcome: AuditedOutcome) -> None:
        """Add what became of the command of entry *number*, unless that was forgotten."""
        ...

    async def audited(self, *, after: int = 0, limit: int = 1_000, about: UUID | None = None) -> Sequence[AuditEntry]:
        """Return at most *limit* entries with numbers above *after*, in order.

        With *about*, only those of the command with that id, or of those with that correlation. Numbers are given as
        commands come, and entries appear as they are written: one may appear below another.
        """
        ...

    async def prune_audit(self, before: datetime) -> int:
        """Forget the entries of commands that were asked for before that moment, and say how many."""
        ...


class EventStore(EventLog, History, Streams, Snapshots, ProcessStore, Protocol):
    """All that an application needs to remember with. Open inside `async with`."""

    @property
    def subscriptions(self) -> Subscriptions:
        """How far each subscription has come, and who runs it."""
        ...

    @property
    def log_id(self) -> UUID:
        """Tells this log from every other, a restored copy included; known once the store is open."""
        ...

    @property
    def namespace(self) -> str:
        """What read models of this log are called by in a database they share with those of others."""
        ...

    async def health(self) -> StoreHealth:
        """Return how the store is; raises `StorageUnavailable` where that cannot be asked."""
        ...

    @property
    def read_database(self) -> str | None:
        """The DSN of the database that projectors write to unless told otherwise; None if there is none."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
