"""What a process sends: in order, once, and what becomes of a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Self
from uuid import UUID

import attrs
import pytest

from framework import (
    Aggregate,
    Application,
    Backoff,
    CommandRejected,
    MemoryEventStore,
    ProcessManager,
    Router,
    Start,
    Stop,
)
from framework.errors import (
    ConfigurationError,
    DispatchTimeout,
    DuplicateName,
    FrameworkError,
    OutcomeUnknown,
    WrongExpectedVersion,
)
from framework.policies import Defaults
from framework.store.protocol import Appended, OutboxRow, Part, ProcessChange, Receipt, StreamWrite
from framework.testing import eventually

QUICK = Defaults(handler_retry=Backoff(attempts=2, first=timedelta(milliseconds=1)))


@attrs.frozen
class Order:
    order_id: str
    parcels: int


@attrs.frozen
class Ordered:
    order_id: str
    parcels: int


@attrs.frozen
class Ship:
    parcel_id: str
    order_id: str


@attrs.frozen
class Apologise:
    parcel_id: str
    order_id: str


@attrs.frozen
class Shipped:
    parcel_id: str
    order_id: str


@attrs.frozen
class Apologised:
    parcel_id: str
    order_id: str


class OutOfStock(CommandRejected):
    """There is none left."""


@attrs.frozen
class Desk(Aggregate[Order, Ordered]):
    def execute(self, command: Order) -> Iterator[Ordered]:
        yield Ordered(command.order_id, command.parcels)

    def apply(self, event: Ordered) -> Self:
        return self


@attrs.frozen
class Warehouse(Aggregate[Ship | Apologise, Shipped | Apologised]):
    """Has nothing whose name begins with `none`."""

    sent: tuple[str, ...] = ()

    def execute(self, command: Ship | Apologise) -> Iterator[Shipped | Apologised]:
        match command:
            case Ship(parcel_id, order_id):
                if order_id.startswith("none") and parcel_id.endswith("-1"):
                    raise OutOfStock(order_id)
                yield Shipped(parcel_id, order_id)
            case Apologise(parcel_id, order_id):
                yield Apologised(parcel_id, order_id)

    def apply(self, event: Shipped | Apologised) -> Self:
        return attrs.evolve(self, sent=(*self.sent, type(event).__name__))


@attrs.frozen
class Fulfil(ProcessManager[Ordered, Ship | Apologise]):
    parcels: int = 0

    @classmethod
    def interested(cls, event: Ordered) -> Start:
        return Start(event.order_id)

    def handle(self, event: Ordered) -> Iterator[Ship]:
        for number in range(event.parcels):
            yield Ship(f"{event.order_id}-{number}", event.order_id)

    def apply(self, event: Ordered) -> Self:
        return attrs.evolve(self, parcels=event.parcels)

    def rejected(self, command: Ship | Apologise, error: CommandRejected) -> Iterator[Apologise | Stop]:
        assert isinstance(command, Ship)
        assert isinstance(error, OutOfStock)
        yield Apologise(command.parcel_id, command.order_id)
        if command.order_id.endswith("stop"):
            yield Stop(command.order_id)


@attrs.frozen
class Careless(ProcessManager[Ordered, Ship]):
    """Did not think of a refusal."""

    @classmethod
    def interested(cls, event: Ordered) -> Start:
        return Start(event.order_id)

    def handle(self, event: Ordered) -> Iterator[Ship]:
        for number in range(event.parcels):
            yield Ship(f"{event.order_id}-{number}", event.order_id)


def shop() -> Router:
    router = Router()
    router.register(Desk, identity="order_id")
    router.register(Warehouse, identity="order_id")
    return router


async def sent(store: MemoryEventStore, order_id: str) -> list[str]:
    return [stored.type for stored in await store.read_stream(f"Warehouse-{order_id}")]


async def test_commands_of_an_event_are_sent_in_order_each_once() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=shop(), processes=[Fulfil]) as app:
        await app.dispatch(Order("a", 20))

        async def all_sent() -> None:
            stored = await store.read_stream("Warehouse-a")
            assert [b'"a-%d"' % n in each.data for n, each in enumerate(stored)] == [True] * 20

        await eventually(all_sent)
        await eventually(lambda: _settled(store, "Fulfil"))


async def _settled(store: MemoryEventStore, process: str) -> None:
    assert not await store.outbox(process, limit=10)


async def test_a_refusal_is_answered_in_its_place_before_the_next_command_is_sent() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=shop(), processes=[Fulfil]) as app:
        await app.dispatch(Order("none", 3))

        async def answered() -> None:
            assert await sent(store, "none") == ["Shipped", "Apologised", "Shipped"]

        await eventually(answered)


async def test_stopping_on_a_refusal_ends_the_instance_and_sends_what_was_yielded() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=shop(), processes=[Fulfil]) as app:
        await app.dispatch(Order("none-stop", 3))

        async def answered() -> None:
            assert await sent(store, "none-stop") == ["Shipped", "Apologised", "Shipped"]
            assert (await store.load_instances("Fulfil", ["none-stop"]))["none-stop"].state is None

        await eventually(answered)


async def test_a_refusal_nobody_foresaw_is_parked_with_what_follows_it_and_holds_back_no_other_instance() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=shop(), processes=[Careless], defaults=QUICK) as app:
        await app.dispatch(Order("none", 3))
        await app.dispatch(Order("b", 1))

        async def parked() -> None:
            rows = await store.parked("Careless")
            assert [(row.instance, row.command_type, row.parked) for row in rows] == [
                ("none", "Ship", "OutOfStock: none")
            ]
            assert await sent(store, "b") == ["Shipped"]
            assert not await store.outbox("Careless", limit=10)

        await eventually(parked)
        assert await sent(store, "none") == ["Shipped"]


async def test_what_was_sent_but_not_settled_is_sent_again_and_takes_effect_once() -> None:
    class Forgetful(MemoryEventStore):
        """Dies before it has written that a command was accepted."""

        is_dying = True
        dies = asyncio.Event()

        async def settle(self, process: str, command_ids: Collection[UUID], *, part: Part | None = None) -> None:
            if self.is_dying:
                self.dies.set()
                await asyncio.get_running_loop().create_future()
            await super().settle(process, command_ids, part=part)

    store = Forgetful()
    async with Application(store=store, router=shop(), processes=[Fulfil]) as app:
        await app.dispatch(Order("a", 1))
        await store.dies.wait()
        assert await sent(store, "a") == ["Shipped"]
    assert len(await store.outbox("Fulfil", limit=10)) == 1
    store.is_dying = False

    async with Application(store=store, router=shop(), processes=[Fulfil]):
        await eventually(lambda: _settled(store, "Fulfil"))

    assert await sent(store, "a") == ["Shipped"]


async def test_a_refusal_heard_but_not_answered_is_answered_after_a_restart() -> None:
    class Forgetful(MemoryEventStore):
        is_dying = True

        async def settle_refused(self, row: OutboxRow, change: ProcessChange, *, part: Part | None = None) -> bool:
            if self.is_dying:
                await asyncio.get_running_loop().create_future()
            return await super().settle_refused(row, change, part=part)

    store = Forgetful()
    async with Application(store=store, router=shop(), processes=[Fulfil]) as app:
        await app.dispatch(Order("none", 2))

        async def is_refused() -> None:
            rows: Sequence[OutboxRow] = await store.outbox("Fulfil", limit=10)
            assert rows
            assert await store.receipts([rows[-1].command_id])

        await eventually(is_refused)
    store.is_dying = False

    async with Application(store=store, router=shop(), processes=[Fulfil]):
        await eventually(lambda: _settled(store, "Fulfil"))

    assert await sent(store, "none") == ["Shipped", "Apologised"]


@pytest.mark.parametrize("trouble", [OutcomeUnknown("Warehouse-a", None), DispatchTimeout("Warehouse-a", 5)], ids=type)
async def test_a_command_is_not_parked_for_want_of_an_answer_however_often(trouble: FrameworkError) -> None:
    class Away(MemoryEventStore):
        """Does not say what became of a shipment, more often than an event at fault would be tried."""

        unanswered = QUICK.handler_retry.attempts + 1

        async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
            if self.unanswered and any(write.stream.startswith("Warehouse") for write in writes):
                self.unanswered -= 1
                raise trouble
            return await super().append(writes, receipts)

    store = Away()
    async with Application(store=store, router=shop(), processes=[Fulfil], defaults=QUICK) as app:
        await app.dispatch(Order("a", 1))

        await eventually(lambda: _is_shipped(store))

        assert not await store.parked("Fulfil")


async def test_a_command_that_loses_to_other_writers_is_sent_until_it_wins_and_holds_back_no_other_instance() -> None:
    class Rivals(MemoryEventStore):
        """Somebody else is quicker at one parcel, more often than a command at fault would be tried."""

        defeats = QUICK.handler_retry.attempts + 3
        others = asyncio.Event()

        async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
            if self.defeats and any(write.stream == "Warehouse-a" for write in writes):
                self.defeats -= 1
                if not self.defeats:
                    await self.others.wait()
                raise WrongExpectedVersion("Warehouse-a", "version 0", 1)
            return await super().append(writes, receipts)

    once = attrs.evolve(QUICK, conflict_retries=0)
    store = Rivals()
    async with Application(store=store, router=shop(), processes=[Fulfil], defaults=once) as app:
        await app.dispatch(Order("a", 2))
        await app.dispatch(Order("b", 1))

        async def other_is_shipped() -> None:
            assert await sent(store, "b") == ["Shipped"]

        await eventually(other_is_shipped)
        store.others.set()

        async def both_parcels() -> None:
            assert await sent(store, "a") == ["Shipped", "Shipped"]

        await eventually(both_parcels)
        assert not await store.parked("Fulfil")
        assert store.defeats == 0


async def test_a_command_that_cannot_be_sent_is_tried_again_later_and_what_others_yield_meanwhile_is_sent() -> None:
    class Broken(MemoryEventStore):
        """Takes no parcel of one order."""

        has_failed = asyncio.Event()

        async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
            if any(write.stream == "Warehouse-a" for write in writes):
                self.has_failed.set()
                raise RuntimeError("the scales are broken")
            return await super().append(writes, receipts)

    patient = Defaults(handler_retry=Backoff(attempts=2, first=timedelta(hours=1)))
    store = Broken()
    async with Application(store=store, router=shop(), processes=[Fulfil], defaults=patient) as app:
        await app.dispatch(Order("a", 1))
        await store.has_failed.wait()

        await app.dispatch(Order("b", 1))

        async def other_is_shipped() -> None:
            assert await sent(store, "b") == ["Shipped"]

        await eventually(other_is_shipped)
        assert not await store.parked("Fulfil")


async def _is_shipped(store: MemoryEventStore) -> None:
    assert await sent(store, "a") == ["Shipped"]


async def test_a_process_that_sends_what_nobody_takes_is_refused_when_built() -> None:
    router = Router()
    router.register(Desk, identity="order_id")

    with pytest.raises(ConfigurationError, match="Fulfil sends Ship, which no aggregate takes"):
        Application(store=MemoryEventStore(), router=router, processes=[Fulfil])


async def test_one_process_twice_is_refused_when_built() -> None:
    with pytest.raises(DuplicateName):
        Application(store=MemoryEventStore(), router=shop(), processes=[Fulfil, Fulfil])
