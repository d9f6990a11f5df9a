"""Who owns a slot of a process acts for its instances, and nobody else: what comes late is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

from framework import (
    Application,
    Backoff,
    CommandContext,
    CommandRejected,
    Consistency,
    DispatchResult,
    DropRest,
    MemoryEventStore,
    Next,
    ProcessManager,
    Schedule,
    Start,
    Stop,
)
from framework.clock import SYSTEM_CLOCK
from framework.codec import Codec
from framework.errors import ConfigurationError, LeaseLost
from framework.policies import Options
from framework.runtime import reports
from framework.runtime.processes import Bell, Owner, ProcessType, Relay, errands
from framework.runtime.supervisor import Supervisor
from framework.store.protocol import InstanceRow, OutboxRow, Part, ProcessChange
from framework.store.subscriptions import Lease, Life
from framework.subscription.slots import Hold
from framework.testing import ManualClock, eventually, given
from framework.testing.application import WatchedApplication
from framework.testing.store_contract.parts import define, take
from tests.processes.test_relay import QUICK, Apologise, Fulfil, Order, Ordered, OutOfStock, Ship, sent, shop

AT_ONCE = attrs.evolve(QUICK, shutdown_timeout=timedelta(0))


async def a_few_turns() -> None:
    """Let everybody else do all that he can do by himself: over a store in memory nothing takes longer."""
    for _ in range(200):
        await asyncio.sleep(0)


# Refusals ---------------------------------------------------------------------------------------------


async def test_a_refusal_is_heard_in_turn_with_the_events_of_its_instance() -> None:
    class Slow(MemoryEventStore):
        """Takes its time over a refusal."""

        heard = asyncio.Event()
        gate = asyncio.Event()
        handled = 0

        async def settle_refused(self, row: OutboxRow, change: ProcessChange, *, part: Part | None = None) -> bool:
            self.heard.set()
            await self.gate.wait()
            return await super().settle_refused(row, change, part=part)

        async def advance_process(self, lease: Lease, change: ProcessChange, *, position: int) -> None:
            await super().advance_process(lease, change, position=position)
            self.handled += len(change.saved)

    store = Slow()
    async with WatchedApplication(store=store, router=shop(), processes=[Fulfil]) as app:
        await app.dispatch(Order("none", 3))
        await store.heard.wait()
        await app.dispatch(Order("none", 1))
        await a_few_turns()
        handled_meanwhile = store.handled
        store.gate.set()

        await app.settled()

        assert (handled_meanwhile, store.handled) == (1, 2)
        assert await sent(store, "none") == ["Shipped", "Apologised", "Shipped", "Shipped"]


class Rejecting:
    """Two owners of one slot, one after the other, and a command that is refused."""

    def __init__(self, store: MemoryEventStore) -> None:
        self.store = store
        self.process = ProcessType(Fulfil, Codec())
        self.sent: list[object] = []

    async def begin(self) -> Relay:
        """Store a command, and return what sends it."""
        await define(self.store, "Fulfil")
        lease = await take(self.store, "Fulfil")
        command = self.process.codec.encode(Ship("none-1", "none"))
        row = OutboxRow("Fulfil", "none", 0, 0, uuid4(), "Ship", command, uuid4(), uuid4())
        change = ProcessChange([InstanceRow("none", 1, b'{"parcels": 2}')], [row])
        await self.store.advance_process(lease, change, position=1)
        return self.relay(lease)

    def relay(self, lease: Lease, life: Life | None = None, bell: Bell | None = None) -> Relay:
        """Return what sends for the owner by *lease*."""
        owner = Owner(Hold(lease, life or Life()), 1, asyncio.Lock())
        once = Backoff(attempts=1)
        return Relay(self.process, self.store, bell or Bell(), self._send, once, SYSTEM_CLOCK, owner)

    async def _send(self, command: object, command_id: UUID) -> None:
        del command_id
        self.sent.append(command)
        if isinstance(command, Ship):
            raise OutOfStock(command.order_id)


class Sleepy(MemoryEventStore):
    """Sleeps before the first answer to a refusal is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps = asyncio.Event()
        self.wakes = asyncio.Event()

    async def settle_refused(self, row: OutboxRow, change: ProcessChange, *, part: Part | None = None) -> bool:
        if not self.sleeps.is_set():
            self.sleeps.set()
            await self.wakes.wait()
        return await super().settle_refused(row, change, part=part)


async def test_an_owner_that_wakes_after_its_refusal_was_compensated_changes_nothing() -> None:
    store = Sleepy()
    shipping = Rejecting(store)
    late = asyncio.ensure_future((await shipping.begin()).drain())
    await store.sleeps.wait()

    await shipping.relay(await take(store, "Fulfil")).drain()
    store.wakes.set()

    with pytest.raises(LeaseLost):
        await late
    assert shipping.sent == [Ship("none-1", "none"), Ship("none-1", "none"), Apologise("none-1", "none")]
    assert list(await store.outbox("Fulfil", limit=9)) == []


async def test_an_owner_that_wakes_before_that_does_not_answer_for_a_state_that_was() -> None:
    store = Sleepy()
    shipping = Rejecting(store)
    late = asyncio.ensure_future((await shipping.begin()).drain())
    await store.sleeps.wait()
    lease = await take(store, "Fulfil")
    await store.advance_process(lease, ProcessChange([InstanceRow("none", 2, None)]), position=2)
    store.wakes.set()

    with pytest.raises(LeaseLost):
        await late
    assert [row.command_type for row in await store.outbox("Fulfil", limit=9)] == ["Ship"]

    await shipping.relay(lease).drain()
    assert [row.parked for row in await store.parked("Fulfil")] == ["OutOfStock: none"]


@attrs.frozen
class Fussy(ProcessManager[Ordered, Ship | Apologise]):
    """Gives up an order of which something is missing."""

    options = Options(timeout=timedelta(seconds=3), consistency=("Fussy",), retry=7)

    @classmethod
    def interested(cls, event: Ordered) -> Start:
        return Start(event.order_id)

    def handle(self, event: Ordered) -> Iterator[Ship]:
        for number in range(event.parcels):
            yield Ship(f"{event.order_id}-{number}", event.order_id)

    def rejected(self, command: Ship | Apologise, error: CommandRejected) -> Iterator[Apologise | DropRest | Stop]:
        yield DropRest()
        yield Apologise(command.parcel_id, command.order_id)
        if command.order_id == "none-of-another":
            yield Stop("another")


async def test_a_refusal_may_drop_what_follows() -> None:
    store = MemoryEventStore()
    async with WatchedApplication(store=store, router=shop(), processes=[Fussy]) as app:
        await app.dispatch(Order("none", 5))
        await app.dispatch(Order("none", 1))
        await app.settled()

        assert await sent(store, "none") == ["Shipped", "Apologised", "Shipped"]


async def test_an_instance_that_would_stop_another_has_its_command_parked() -> None:
    store = MemoryEventStore()
    async with WatchedApplication(store=store, router=shop(), processes=[Fussy], defaults=QUICK) as app:
        await app.dispatch(Order("none-of-another", 3))
        await app.settled()

        (parked,) = await store.parked("Fussy")
        assert "an instance stops itself only" in str(parked.parked)


def test_a_scenario_shows_what_is_dropped() -> None:
    rejected = given(Fussy, Ordered("none", 5)).when_rejected(Ship("p", "none"), OutOfStock(), instance="none")

    rejected.then(Apologise("p", "none"))
    rejected.then_rest_is_dropped()
    with pytest.raises(AssertionError, match="but it is sent"):
        given(Fulfil, Ordered("none", 5)).when_rejected(
            Ship("p", "none"), OutOfStock(), instance="none"
        ).then_rest_is_dropped()


# Sending ----------------------------------------------------------------------------------------------


async def test_a_process_says_how_its_commands_are_dispatched_and_may_wait_for_itself() -> None:
    seen: list[CommandContext] = []

    async def look(context: CommandContext, call_next: Next) -> DispatchResult:
        if isinstance(context.command, Ship):
            seen.append(context)
        return await call_next(context)

    store = MemoryEventStore()
    async with WatchedApplication(store=store, router=shop(), processes=[Fussy, Fulfil], middleware=[look]) as app:
        await app.dispatch(Order("a", 1))
        await app.settled()

    assert {context.options for context in seen} == {Fussy.options, Options(consistency=Consistency.EVENTUAL)}
    assert await sent(store, "a") == ["Shipped", "Shipped"]


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("options", Options(timeout=timedelta(0)), "a timeout of 0 s leaves no time"),
        ("options", Options(consistency=("Nobody",)), "Fussy has its commands to wait for 'Nobody'"),
        ("step_timeout", timedelta(0), "no step is that quick"),
        ("partitions", 0, "partitions = 0"),
    ],
)
def test_what_a_process_cannot_ask_for_is_refused_when_built(
    name: str, value: object, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fussy, name, value)

    with pytest.raises(ConfigurationError, match=fault):
        Application(store=MemoryEventStore(), router=shop(), processes=[Fussy])


async def test_what_has_nothing_to_send_holds_no_task() -> None:
    store = MemoryEventStore()

    def relays() -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("relay")]

    async with WatchedApplication(store=store, router=shop(), processes=[Fulfil]) as app:
        await app.dispatch(Order("a", 1))
        await app.settled()
        await eventually(lambda: not relays())

        await app.dispatch(Order("b", 1))
        await app.settled()

        assert await sent(store, "b") == ["Shipped"]


async def test_what_is_due_is_sent_though_the_alarm_is_late_since_the_clock_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Deaf(ManualClock):
        """Whose alarms count a time that passes otherwise than it does."""

        def alarm(self, moment: datetime, ring: Callable[[], None]) -> Callable[[], None]:
            del moment, ring
            return lambda: None

    monkeypatch.setattr(errands, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(reports, "REPORT_SECONDS", 3_600)  # whoever looks after its slot looks for timers, too
    clock = Deaf()
    store = MemoryEventStore(clock)
    async with WatchedApplication(store=store, router=shop(), processes=[Belated], clock=clock) as app:
        await app.dispatch(Order("a", 1))
        await app.settled()
        assert await sent(store, "a") == []

        clock.advance(timedelta(hours=1))

        async def is_sent() -> None:
            assert await sent(store, "a") == ["Apologised"]

        await eventually(is_sent)


@attrs.frozen
class Belated(ProcessManager[Ordered, Apologise]):
    """Says nothing for an hour."""

    @classmethod
    def interested(cls, event: Ordered) -> Start:
        return Start(event.order_id)

    def handle(self, event: Ordered) -> Iterator[Schedule[Apologise]]:
        yield Schedule(Apologise("nothing", event.order_id), after=timedelta(hours=1), key="k")


async def test_who_is_late_to_say_that_he_lives_sends_when_he_has_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "POLL_SECONDS", 0.01)
    shipping, supervisor, life = Rejecting(MemoryEventStore()), Supervisor(), Life(until=float("-inf"))
    await shipping.begin()
    lease = await take(shipping.store, "Fulfil")
    sending = errands.Errands("relay", lambda bell: shipping.relay(lease, life, bell), supervisor.keep, SYSTEM_CLOCK)
    try:
        sending.bell.ring()
        await a_few_turns()
        sent_before = list(shipping.sent)

        life.until = float("inf")

        await eventually(lambda: len(shipping.sent) == 2)
        assert sent_before == []
    finally:
        sending.end()
        await supervisor.end()


@attrs.frozen
class Endless(ProcessManager[Ordered, Order | Ship]):
    """Answers an order of nothing by the same order, for ever."""

    @classmethod
    def interested(cls, event: Ordered) -> Start:
        return Start(event.order_id)

    def handle(self, event: Ordered) -> Iterator[Order | Ship]:
        yield Ship("parcel", event.order_id) if event.parcels else Order(event.order_id, 0)


async def test_an_instance_that_answers_itself_for_ever_keeps_no_other_waiting_and_no_application_open() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=shop(), processes=[Endless]) as app:
        await app.dispatch(Order("loop", 0))

        async def has_come_round() -> None:
            assert len(await store.read_stream("Desk-loop")) > 3

        await eventually(has_come_round)
        await app.dispatch(Order("a", 1))

        async def other_is_shipped() -> None:
            assert await sent(store, "a") == ["Shipped"]

        await eventually(other_is_shipped)
        before = len(await store.read_stream("Desk-loop"))

        async def goes_on() -> None:
            assert len(await store.read_stream("Desk-loop")) > before

        await eventually(goes_on)


# Death ------------------------------------------------------------------------------------------------


@attrs.frozen
class Careful(ProcessManager[Ordered, Ship | Apologise]):
    """Sends, is refused, sends something else, and sends something later."""

    parcels: int = 0

    @classmethod
    def interested(cls, event: Ordered) -> Start:
        return Start(event.order_id)

    def handle(self, event: Ordered) -> Iterator[Ship | Schedule[Apologise]]:
        for number in range(event.parcels):
            yield Ship(f"{event.order_id}-{number}", event.order_id)
        yield Schedule(Apologise("in the end", event.order_id), after=timedelta(0), key="end")

    def apply(self, event: Ordered) -> Careful:
        return attrs.evolve(self, parcels=self.parcels + event.parcels)

    def rejected(self, command: Ship | Apologise, error: CommandRejected) -> Iterator[Apologise | Schedule[Apologise]]:
        yield Apologise(command.parcel_id, command.order_id)
        yield Schedule(Apologise("later", command.order_id), after=timedelta(0), key="later")


class Mortal(MemoryEventStore):
    """Hangs for good at one of the calls of whoever uses it: what a process that is killed has of its database."""

    def __init__(self) -> None:
        super().__init__()
        self.calls_left: int | None = None
        self.hangs_after = False
        self.died = asyncio.Event()

    async def _call(self, work: Any) -> Any:
        left, self.calls_left = self.calls_left, None if self.calls_left is None else self.calls_left - 1
        if self.died.is_set() or left == 0:
            if left == 0 and self.hangs_after:
                await work
            else:
                work.close()
            self.died.set()
            await asyncio.get_running_loop().create_future()
        return await work

    async def append(self, *args: Any, **options: Any) -> Any:
        return await self._call(super().append(*args, **options))

    async def load_instances(self, *args: Any, **options: Any) -> Any:
        return await self._call(super().load_instances(*args, **options))

    async def advance_process(self, *args: Any, **options: Any) -> Any:
        return await self._call(super().advance_process(*args, **options))

    async def outbox(self, *args: Any, **options: Any) -> Any:
        return await self._call(super().outbox(*args, **options))

    async def fire(self, *args: Any, **options: Any) -> Any:
        return await self._call(super().fire(*args, **options))

    async def is_waiting(self, *args: Any, **options: Any) -> Any:
        return await self._call(super().is_waiting(*args, **options))

    async def settle(self, *args: Any, **options: Any) -> Any:
        return await self._call(super().settle(*args, **options))

    async def settle_refused(self, *args: Any, **options: Any) -> Any:
        return await self._call(super().settle_refused(*args, **options))


async def settled_or_died(app: WatchedApplication, store: Mortal, order: Order, command_id: UUID) -> None:
    """Return when *order*, and all it leads to, is done, or when the store hangs."""

    async def work() -> None:
        await app.dispatch(order, command_id=command_id)
        await app.settled()

    working = asyncio.ensure_future(work())
    died = asyncio.ensure_future(store.died.wait())
    await asyncio.wait([working, died], return_when=asyncio.FIRST_COMPLETED)
    for task in (working, died):
        task.cancel()
    await asyncio.wait([working, died])
    if not store.died.is_set():
        working.result()


@pytest.mark.parametrize("hangs_after", [False, True], ids=["before", "after"])
async def test_whatever_call_an_owner_dies_at_each_command_has_one_outcome(hangs_after: bool) -> None:
    deaths = 0
    while True:
        store, command_id = Mortal(), uuid4()
        store.calls_left, store.hangs_after = deaths, hangs_after
        async with WatchedApplication(store=store, router=shop(), processes=[Careful], defaults=AT_ONCE) as app:
            await settled_or_died(app, store, Order("none", 3), command_id)
        has_died, store.calls_left = store.died.is_set(), None
        store.died.clear()
        async with WatchedApplication(store=store, router=shop(), processes=[Careful], defaults=AT_ONCE) as app:
            await settled_or_died(app, store, Order("none", 3), command_id)

        assert await sent(store, "none") == ["Shipped", "Apologised", "Shipped", "Apologised", "Apologised"]
        assert await store.load_instances("Careful", ["none"]) == {"none": InstanceRow("none", 1, b'{"parcels":3}')}
        assert list(await store.outbox("Careful", limit=9)) == []
        assert list(await store.timers("Careful")) == []
        if not has_died:
            break
        deaths += 1
    assert deaths > 15
