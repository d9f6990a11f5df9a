"""Whoever has written can wait until those have handled it who matter, wherever these run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

import attrs
import pytest

from framework import (
    Aggregate,
    Application,
    Backoff,
    Consistency,
    EventHandler,
    MemoryEventStore,
    PostgresEventStore,
    Recorded,
    Router,
)
from framework.clock import now
from framework.errors import InvalidRequest, SelfWait, UnknownHandler
from framework.policies import Defaults
from framework.runtime.consistency import ConsistencyWaits
from framework.store.memory import subscriptions as memory_subscriptions
from framework.store.postgres import presence
from framework.store.protocol import EventStore
from framework.store.subscriptions import ParkedEvent
from framework.testing import eventually
from framework.testing.store_contract.parts import working
from tests.runtime.till import Moved, PutIn, Till, tills
from tests.sample_bank.databases import fresh_schema

IMPATIENT = Defaults(
    handler_retry=Backoff(attempts=1, first=timedelta(milliseconds=1)),
    consistency_timeout=timedelta(milliseconds=50),
    shutdown_timeout=timedelta(milliseconds=100),
)
PATIENT = attrs.evolve(IMPATIENT, consistency_timeout=timedelta(seconds=30))
JAM = 13

Stores: TypeAlias = Callable[[], EventStore]


@pytest.fixture(params=["memory", "postgres"])
async def another_store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Stores]:
    """Gives each process its own way to one log."""
    if request.param == "memory":
        store = MemoryEventStore()
        yield lambda: store
    else:
        async with fresh_schema(dsn) as schema:
            yield lambda: PostgresEventStore(dsn, schema=schema)


class Printer(EventHandler[Moved]):
    """Prints each amount while there is paper, and jams at one."""

    def __init__(self) -> None:
        self.printed: list[int] = []
        self.paper = asyncio.Event()
        self.paper.set()

    async def handle(self, event: Recorded[Moved]) -> None:
        await self.paper.wait()
        if event.data.amount == JAM:
            raise OSError("paper jam")
        self.printed.append(event.data.amount)


class Sorter(Printer):
    """Has a slot for small amounts and one for others."""

    partitions: ClassVar[int] = 2

    def partition_by(self, event: Recorded[Moved]) -> str:
        return "small" if event.data.amount < 100 else "large"


class Idler(EventHandler[Moved]):
    """Never comes to an end."""

    async def handle(self, event: Recorded[Moved]) -> None:
        await asyncio.Event().wait()


def shop(store: EventStore, *handlers: EventHandler[Moved], defaults: Defaults = PATIENT) -> Application:
    return Application(store=store, router=tills(), handlers=handlers, defaults=defaults)


async def has_started(app: Application) -> None:
    """Return when *app* runs all it can, so that other processes know of it."""
    handlers = len({state.name for state in await app.subscriptions.slots()})

    async def runs_all() -> None:
        assert len({lease.name for lease in (await app.health()).slots}) == handlers

    await eventually(runs_all)


async def test_a_handler_that_only_another_process_runs_is_waited_for(another_store: Stores) -> None:
    printer = Printer()
    async with shop(another_store()) as front, shop(another_store(), printer) as back:
        await has_started(back)
        printer.paper.clear()
        dispatch = asyncio.ensure_future(front.dispatch(PutIn("a", 1), consistency=[Printer]))
        done, _ = await asyncio.wait([dispatch], timeout=0.1)
        assert not done

        printer.paper.set()

        assert (await dispatch).waited == {"Printer": "handled"}
        assert printer.printed == [1]


async def test_strong_means_those_of_other_processes_too(another_store: Stores) -> None:
    async with shop(another_store()) as front, shop(another_store(), Printer()) as back:
        await has_started(back)

        assert (await front.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)).waited == {"Printer": "handled"}


async def test_a_handler_whose_process_has_gone_is_refused_by_name(another_store: Stores) -> None:
    async with shop(another_store()) as front:
        async with shop(another_store(), Printer()) as back:
            await has_started(back)

        with pytest.raises(UnknownHandler, match="'Printer'; these are run: none"):
            await front.dispatch(PutIn("a", 1), consistency=["Printer"])

        assert await front.state(Till, "a") == Till()


async def test_a_later_request_to_another_process_waits_by_position(another_store: Stores) -> None:
    printer = Printer()
    async with shop(another_store(), printer) as back, shop(another_store()) as front:
        await has_started(back)
        printer.paper.clear()
        position = (await front.dispatch(PutIn("a", 1))).position
        later = asyncio.ensure_future(front.wait_for(position, [Printer]))
        here = asyncio.ensure_future(back.wait_for(position, Consistency.STRONG))
        done, _ = await asyncio.wait([later, here], timeout=0.1)
        assert not done

        printer.paper.set()

        assert await later == await here == {"Printer": "handled"}


async def test_what_is_before_every_event_is_handled_and_what_is_not_there_is_refused(another_store: Stores) -> None:
    async with shop(another_store(), Idler()) as app:
        assert await app.wait_for(0, [Idler]) == {"Idler": "handled"}

        with pytest.raises(InvalidRequest, match="no event is at position 5: the log ends at 0"):
            await app.wait_for(5, [Idler])
        with pytest.raises(UnknownHandler):
            await app.wait_for(0, ["Nobody"])


async def test_only_who_is_late_is_called_late(another_store: Stores) -> None:
    async with shop(another_store(), Idler(), Printer(), defaults=IMPATIENT) as app:
        less_impatient = attrs.evolve(IMPATIENT, consistency_timeout=timedelta(milliseconds=500))
        async with shop(another_store(), defaults=less_impatient) as front:
            await has_started(app)

            result = await front.dispatch(PutIn("a", 1), consistency=["Idler", "Printer"])
            again = await app.wait_for(result.position, ["Idler", "Printer"])

    assert result.waited == again == {"Idler": "late", "Printer": "handled"}


async def test_what_another_process_has_parked_is_said_at_once(another_store: Stores) -> None:
    async with shop(another_store()) as front, shop(another_store(), Printer()) as back:
        await has_started(back)

        failed = await front.dispatch(PutIn("a", JAM), consistency=[Printer])
        behind = await front.dispatch(PutIn("a", 1), consistency=[Printer])
        other = await front.dispatch(PutIn("b", 1), consistency=[Printer])

    assert [result.waited["Printer"] for result in (failed, behind, other)] == ["parked", "parked", "handled"]


def to_the_last(
    member: UUID, owners: Mapping[int, UUID | None], members: Collection[UUID]
) -> tuple[list[int], list[int]]:
    """Share out slots to who joined last, all of them; ids grow with time."""
    if member == max(members):
        return [slot for slot, owner in owners.items() if owner not in members], []
    return [], [slot for slot, owner in owners.items() if owner == member]


async def test_what_is_parked_where_a_slot_has_moved_to_is_not_taken_for_handled(
    another_store: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory_subscriptions, presence):
        monkeypatch.setattr(module, "fair_share", to_the_last)
    async with shop(another_store(), Printer()) as app, another_store() as store:
        assert (await app.dispatch(PutIn("a", 1), consistency=[Printer])).waited == {"Printer": "handled"}

        async with working(store, "Printer") as another:
            await eventually(lambda: len(another.held) == 1)
            dispatch = asyncio.ensure_future(app.dispatch(PutIn("a", JAM), consistency=[Printer]))
            await store.wait_beyond(1)
            parked = [ParkedEvent("Printer", 2, "till-a", "paper jam", 1, now())]
            await store.subscriptions.park(another.held[0], parked, 2)

            assert (await dispatch).waited == {"Printer": "parked"}


async def test_a_handler_that_handles_no_such_event_is_not_waited_for(another_store: Stores) -> None:
    @attrs.frozen
    class Note:
        till: str

    @attrs.frozen
    class Noted:
        pass

    @attrs.frozen
    class Notes(Aggregate[Note, Noted]):
        def execute(self, command: Note) -> list[Noted]:
            return [Noted()]

        def apply(self, event: Noted) -> Notes:
            return self

    router = Router()
    router.include(tills())
    router.register(Notes, identity="till", prefix="note-")
    async with Application(store=another_store(), router=router, handlers=[Idler()], defaults=PATIENT) as app:
        await app.dispatch(PutIn("a", 1))

        result = await app.dispatch(Note("a"), consistency=[Idler])

        assert result.waited == {"Idler": "handled"}
        assert await app.wait_for(result.position, Consistency.STRONG) == {}


async def test_of_a_handler_with_keys_only_the_slot_of_the_event_is_waited_for(another_store: Stores) -> None:
    class Stubborn(Sorter):
        async def handle(self, event: Recorded[Moved]) -> None:
            if event.data.amount >= 100:
                await asyncio.Event().wait()

    async with shop(another_store(), Stubborn()) as app:
        await app.dispatch(PutIn("a", 100))

        assert (await app.dispatch(PutIn("a", 1), consistency=[Stubborn])).waited == {"Stubborn": "handled"}


async def test_a_slot_elsewhere_that_saw_nothing_for_it_is_asked_how_far_it_is(
    another_store: Stores,
) -> None:
    async with shop(another_store()) as front, shop(another_store(), Sorter()) as back:
        await has_started(back)
        await front.dispatch(PutIn("a", 1), consistency=[Sorter])

        result = await front.dispatch(PutIn("a", 2), consistency=[Sorter])

    assert result.waited == {"Sorter": "handled"}


async def test_inside_a_handler_nobody_waits_for_it_by_position_either(another_store: Stores) -> None:
    refused: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    class Curious(EventHandler[Moved]):
        async def handle(self, event: Recorded[Moved]) -> None:
            try:
                await app.wait_for(event.position, [Curious])
            except SelfWait as error:
                refused.set_result(error)

    app = shop(another_store(), Curious())
    async with app:
        await app.dispatch(PutIn("a", 1))

        assert "would wait for itself" in str(await refused)


class First(EventHandler[Moved]):
    """Has something done for what comes to the till a, and waits for the second one to hear of that."""

    def __init__(self) -> None:
        self.app: Application | None = None
        self.waited: list[Mapping[str, str]] = []

    async def handle(self, event: Recorded[Moved]) -> None:
        if event.stream == "till-a" and self.app is not None:
            result = await self.app.dispatch(PutIn("b", 1), consistency=[Second])
            self.waited.append(result.waited)


class Second(EventHandler[Moved]):
    """Does the same for the till b, and would wait for the first one."""

    def __init__(self) -> None:
        self.app: Application | None = None
        self.waited: list[Mapping[str, str]] = []
        self.refusals: list[SelfWait] = []

    async def handle(self, event: Recorded[Moved]) -> None:
        if event.stream == "till-b" and self.app is not None:
            try:
                result = await self.app.dispatch(PutIn("c", 1), consistency=[First])
                self.waited.append(result.waited)
            except SelfWait as error:
                self.refusals.append(error)


@asynccontextmanager
async def in_a_circle(store: EventStore) -> AsyncGenerator[tuple[Application, First, Second]]:
    """Open an application whose handlers would wait for each other."""
    first, second = First(), Second()
    async with shop(store, first, second) as app:
        first.app = second.app = app
        yield app, first, second


async def test_handlers_that_would_wait_for_each_other_are_told_and_do_not(another_store: Stores) -> None:
    async with in_a_circle(another_store()) as (app, first, second):
        await app.dispatch(PutIn("a", 1))
        await eventually(lambda: bool(first.waited), timedelta(seconds=3))

    (refusal,) = second.refusals
    assert (refusal.handler, refusal.through) == ("Second", ("First",))
    assert "handler 'Second' would wait for itself, through 'First', which wait" in str(refusal)
    assert first.waited == [{"Second": "handled"}]


async def test_of_two_handlers_that_begin_to_wait_for_each_other_at_once_one_does_not(
    another_store: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for = ConsistencyWaits.wait_for
    both_have_chosen = asyncio.Barrier(2)

    async def begin(waits: ConsistencyWaits, *arguments: Any, **options: Any) -> Mapping[str, str]:
        await both_have_chosen.wait()
        return await wait_for(waits, *arguments, **options)

    monkeypatch.setattr(ConsistencyWaits, "wait_for", begin)
    async with in_a_circle(another_store()) as (app, first, second):
        await app.dispatch(PutIn("a", 1))
        await eventually(lambda: bool(first.waited and second.waited), timedelta(seconds=3))

    assert second.refusals == []
    assert {*first.waited[0].values(), *second.waited[0].values()} == {"late", "handled"}
