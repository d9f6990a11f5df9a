"""What the tests of the contract are made of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import pytest

from framework.clock import new_id, now
from framework.store.protocol import (
    Appended,
    EventStore,
    Expected,
    InstanceRow,
    NewEvent,
    OutboxRow,
    ProcessChange,
    Receipt,
    StoredEvent,
    StreamWrite,
)
from framework.store.subscriptions import Definition, Lease, Life, Membership, ParkedEvent, Share

PATIENCE_S = 10
"""How long something that must happen soon may take."""


JSON_VALUES: Sequence[dict[str, Any]] = (
    {"text": "ä 漢 😀 \u202e ' \" \\ \\u0041 \t\n\r\x01 {x} %s $1"},
    {"nesting": {"": "", "a.b": {"c": [[], {}, [[[1]]]]}, "long": "x" * 100_000}},
    {"integers": [0, -1, 2**53 + 1, 2**63, -(2**64), 10**40]},
    {"floats": [0.1, -1.5, 1e-7, 1e22, 1.7976931348623157e308, 5e-324]},
    {"constants": [True, False, None]},
    {"keys": {"b": 1, "aa": 2, "a": {"z": 1, "y": 2}}},
)
"""What has to come back as it went in."""


def new_event(data: object = None, *, type_: str = "happened", metadata: object = None) -> NewEvent:
    """Return an event with fresh ids, *data* and *metadata* as JSON."""
    return NewEvent(
        event_id=new_id(),
        type=type_,
        type_version=1,
        data=as_json({} if data is None else data),
        metadata=as_json({} if metadata is None else metadata),
        correlation_id=new_id(),
        causation_id=new_id(),
    )


def new_events(count: int) -> list[NewEvent]:
    """Return *count* events, numbered from 1."""
    return [new_event({"number": number}) for number in range(1, count + 1)]


def new_receipt(stream: str = "s", *, count: int = 1, refusal: bytes | None = None) -> Receipt:
    """Return the receipt of a command with a fresh id, decided on an empty *stream*."""
    return Receipt(new_id(), b"\x00digest\xff", stream, 1, count, refusal)


def new_command(process: str = "p", instance: str = "i") -> OutboxRow:
    """Return a command of *instance* with fresh ids; its number is the store's to give."""
    return OutboxRow(process, instance, 0, 0, new_id(), "Do", b'{"it": "now"}', new_id(), new_id())


def as_json(value: object) -> bytes:
    """Return *value* as a JSON document."""
    return json.dumps(value).encode()


def value_of(document: bytes) -> Any:
    """Return what a JSON *document* says, numbers exact; two documents that say the same are equal."""
    return json.loads(document, parse_int=Decimal, parse_float=Decimal)


def content_of(event: NewEvent | StoredEvent) -> tuple[object, ...]:
    """Return all of an event that its writer gave."""
    return (
        event.event_id,
        event.type,
        event.type_version,
        value_of(event.data),
        value_of(event.metadata),
        event.correlation_id,
        event.causation_id,
    )


def contents_of(events: Iterable[NewEvent | StoredEvent]) -> list[tuple[object, ...]]:
    """Return what the writers of *events* gave."""
    return [content_of(event) for event in events]


def ids_of(rows: Iterable[OutboxRow]) -> list[UUID]:
    """Return the command ids of *rows*."""
    return [row.command_id for row in rows]


async def write(store: EventStore, stream: str, *events: NewEvent, expected: int = Expected.ANY) -> Appended:
    """Append *events* to one *stream*."""
    (appended,) = await store.append([StreamWrite(stream, expected, events)])
    return appended


async def write_to(
    store: EventStore, events: Sequence[NewEvent], *receipts: Receipt, stream: str = "s", expected: int = 0
) -> Appended:
    """Append *events* with *receipts* to one *stream*, new unless said otherwise."""
    (appended,) = await store.append([StreamWrite(stream, expected, events)], receipts)
    return appended


async def log_of(store: EventStore) -> Sequence[StoredEvent]:
    """Return the whole log."""
    return (await store.read_log(limit=100_000)).events


async def define(
    store: EventStore, name: str, *, types: tuple[str, ...] | None = None, partitions: int = 1, start: int = 0
) -> None:
    """Define the subscription *name*."""
    await store.subscriptions.define(Definition(name, types, partitions, "stream"), start=start)


class Worker:
    """A member that does what it is told, as far as a test wants it to."""

    def __init__(self, store: EventStore) -> None:
        self.told = asyncio.Event()
        """Set each time that it is told of its part."""
        self.held: list[Lease] = []
        self.surplus: list[Lease] = []
        self.to_cut: list[str] = []
        self.life = Life()
        self.failures: list[Exception] = []
        self._store = store
        self._membership: Membership | None = None

    async def join(self, *names: str) -> Self:
        """Run slots of the subscriptions *names*."""
        self._membership = await self._store.subscriptions.join(names, self)
        return self

    def shared(self, share: Share) -> None:
        """Hear of its part."""
        self.held, self.surplus, self.life = sorted(share.held), sorted(share.surplus), share.life
        self.to_cut = list(share.to_cut)
        self.told.set()

    def failed(self, error: Exception) -> None:
        """Hear that it is told nothing any more."""
        self.failures.append(error)

    async def is_told(self, condition: Callable[[], bool]) -> None:
        """Return when it was told what makes *condition* true."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.told.clear()
                await self.told.wait()

    async def give_back(self) -> None:
        """Release what others are entitled to."""
        await self._store.subscriptions.release(self.surplus)

    async def give_back_all(self) -> None:
        """Release all that it holds."""
        await self._store.subscriptions.release(self.held)

    async def leave(self) -> None:
        """Take part no longer."""
        assert self._membership is not None
        await self._membership.leave()


@asynccontextmanager
async def working(store: EventStore, *names: str) -> AsyncGenerator[Worker, None]:
    """Give somebody who runs slots of the subscriptions *names*."""
    worker = await Worker(store).join(*names)
    try:
        yield worker
    finally:
        await worker.leave()


async def take(store: EventStore, name: str) -> Lease:
    """Return a lease of the first slot of *name*, which is good until somebody takes it again."""
    async with working(store, name) as worker:
        return worker.held[0]


async def position_of(store: EventStore, name: str) -> int:
    """Return the position that the first slot of *name* has come to."""
    states = await store.subscriptions.slots([name])
    return states[0].position


async def apply(store: EventStore, change: ProcessChange, *, process: str = "p", position: int = 1) -> None:
    """Apply *change* to *process* as the owner of its only slot, and move that to *position*."""
    await define(store, process)
    await store.advance_process(await take(store, process), change, position=position)


async def advance(store: EventStore, *commands: OutboxRow, process: str = "p") -> None:
    """Put *commands* in the outbox of *process*."""
    await apply(store, ProcessChange(commands=commands), process=process)


async def waiting(store: EventStore, process: str = "p") -> list[UUID]:
    """Return the ids of the commands that *process* has to send, in order."""
    return ids_of(await store.outbox(process, limit=1_000))


async def row_of(store: EventStore, command: OutboxRow) -> OutboxRow:
    """Return *command* as the outbox holds it."""
    rows = await store.outbox(command.process, limit=1_000)
    return next(row for row in rows if row.command_id == command.command_id)


def new_instance(number: int, *, of: str = "i") -> InstanceRow:
    """Return the state of the instance *of* after its event *number*."""
    return InstanceRow(of, number, as_json({"after": number}))


def finished(instance: str, number: int) -> InstanceRow:
    """Return what is left of *instance*, which ended after its event *number*."""
    return InstanceRow(instance, number, None)


def parked_event(
    name: str, position: int, *, key: str = "key", error: str | None = None, attempts: int = 0
) -> ParkedEvent:
    """Return an event set aside."""
    return ParkedEvent(name, position, key, error, attempts, now())


def without_time(event: ParkedEvent) -> tuple[object, ...]:
    """Return what of *event* does not depend on a clock."""
    return (*event[:5], event.asked)


async def instances(store: EventStore, process: str = "p") -> dict[str, tuple[int, object]]:
    """Return the versions and states of the instances i and j of *process*, as far as there are any."""
    rows = await store.load_instances(process, ["i", "j"])
    return {name: (row.version, row.state and value_of(row.state)) for name, row in rows.items()}


async def outcomes(work: Iterable[Awaitable[object]]) -> list[object]:
    """Do all *work* at the same time, and return the result or the error of each."""
    async with asyncio.timeout(PATIENCE_S * 3):
        return await asyncio.gather(*work, return_exceptions=True)


class OnAStore:
    """What every part of the contract stands on."""

    @pytest.fixture
    def store(self) -> EventStore:
        """Return an open store with nothing in it."""
        message = "a subclass provides the fixture `store`"
        raise NotImplementedError(message)
