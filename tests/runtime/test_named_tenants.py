"""Many applications under names: opened once each, closed together, and picked by a layer for every command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import attrs
import pytest

from framework import (
    Application,
    CommandContext,
    CommandRejected,
    Consistency,
    EventHandler,
    MemoryEventStore,
    Recorded,
)
from framework.errors import InvalidOption, NotRunning, StorageUnavailable, SubsystemFailed, WrongExpectedVersion
from framework.tenants import Tenants
from framework.testing import eventually
from tests.runtime.till import Moved, NotEnough, PutIn, TakeOut, Till, tills

who_asks: ContextVar[str] = ContextVar("who_asks", default="nobody")


class UnknownTenant(CommandRejected):
    """There is no such tenant."""


class Heard(EventHandler[Moved]):
    """Remembers what it was given, and in whose context it was started."""

    def __init__(self) -> None:
        self.amounts: list[int] = []
        self.started_by = ""

    async def on_start(self, dispatch: object) -> None:
        del dispatch
        self.started_by = who_asks.get()

    async def handle(self, event: Recorded[Moved]) -> None:
        self.amounts.append(event.data.amount)


class Slow(MemoryEventStore):
    """A store that is opened and closed only when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.opening = asyncio.Event()
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.closing = asyncio.Event()
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.error: Exception | None = None

    async def __aenter__(self) -> Self:
        self.opening.set()
        await self.may_open.wait()
        if self.error is not None:
            raise self.error
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        await self.may_close.wait()
        await super().__aexit__(kind, error, trace)


@attrs.define
class Makers:
    """Makes tenants, and knows what they were made of."""

    stores: dict[str, Slow] = attrs.field(factory=lambda: {"north": Slow(), "south": Slow()})
    handlers: dict[str, Heard] = attrs.field(factory=dict[str, Heard])
    made: list[str] = attrs.field(factory=list[str])

    def __call__(self, name: str) -> Application:
        if name not in self.stores:
            raise UnknownTenant(name)
        self.made.append(name)
        handler = self.handlers.setdefault(name, Heard())
        return Application(store=self.stores[name], router=tills(), handlers=[handler])


@pytest.fixture
def makers() -> Makers:
    return Makers()


@pytest.fixture
async def tenants(makers: Makers) -> AsyncIterator[Tenants]:
    async with Tenants(makers) as tenants:
        yield tenants


def by_metadata(context: CommandContext) -> str | None:
    name = context.metadata.get("tenant")
    return None if name is None else str(name)


def front(tenants: Tenants, store: MemoryEventStore | None = None) -> Application:
    return Application(store=store or MemoryEventStore(), router=tills(), middleware=[tenants.choosing(by_metadata)])


async def test_each_name_has_an_application_of_its_own_that_is_opened_once(tenants: Tenants, makers: Makers) -> None:
    makers.stores["north"].may_open.clear()
    asked = [asyncio.ensure_future(tenants.application("north")) for _ in range(5)]
    await makers.stores["north"].opening.wait()
    south = await tenants.application("south")
    assert dict(tenants.opened) == {"south": south}

    makers.stores["north"].may_open.set()
    north, *others = await asyncio.gather(*asked)

    assert all(each is north for each in others)
    assert makers.made == ["north", "south"]
    await north.dispatch(PutIn("a", 1))
    await south.dispatch(PutIn("a", 100))
    assert [(await each.state(Till, "a")).content for each in (north, south)] == [1, 100]


async def test_one_who_no_longer_waits_does_not_keep_the_others_from_their_application(
    tenants: Tenants, makers: Makers
) -> None:
    makers.stores["north"].may_open.clear()
    first, second = (asyncio.ensure_future(tenants.application("north")) for _ in range(2))
    await makers.stores["north"].opening.wait()

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    makers.stores["north"].may_open.set()

    assert (await (await second).dispatch(PutIn("a", 1))).version == 1


async def test_one_that_cannot_be_opened_is_told_to_all_who_wait_and_tried_again_by_the_next(
    tenants: Tenants, makers: Makers
) -> None:
    store = makers.stores["north"]
    store.may_open.clear()
    store.error = StorageUnavailable("it is away")
    asked = [asyncio.ensure_future(tenants.application("north")) for _ in range(2)]
    await store.opening.wait()
    store.may_open.set()
    for each in asked:
        with pytest.raises(StorageUnavailable, match="it is away"):
            await each
    assert not tenants.opened

    store.error = None

    assert (await (await tenants.application("north")).dispatch(PutIn("a", 1))).version == 1


async def test_a_name_that_nobody_has_is_refused_as_its_maker_says(tenants: Tenants) -> None:
    async with front(tenants) as app:
        with pytest.raises(UnknownTenant, match="east"):
            await app.dispatch(PutIn("a", 1), metadata={"tenant": "east"})
    assert not tenants.opened


async def test_a_tenant_has_nothing_of_the_context_of_whoever_asked_first(tenants: Tenants, makers: Makers) -> None:
    who_asks.set("somebody")

    await tenants.application("north")

    assert makers.handlers["north"].started_by == "nobody"


async def test_a_layer_hands_a_command_to_its_tenant_with_all_that_was_said_of_it(
    tenants: Tenants, makers: Makers
) -> None:
    own = MemoryEventStore()
    north: Any = {"tenant": "north"}
    command_id, correlation_id, causation_id = uuid4(), uuid4(), uuid4()
    async with front(tenants, own) as app:
        first = await app.dispatch(
            PutIn("a", 5),
            metadata=north,
            returning=Till,
            command_id=command_id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            consistency=Consistency.STRONG,
        )
        again = await app.dispatch(PutIn("a", 5), metadata=north, command_id=command_id)
        with pytest.raises(NotEnough):
            await app.dispatch(TakeOut("a", 9), metadata=north)
        with pytest.raises(WrongExpectedVersion):
            await app.dispatch(PutIn("a", 1), metadata=north, expected_version=7)
        assert await own.head() == 0
        stays = await app.dispatch(PutIn("a", 1))

    assert (first.state, first.waited, makers.handlers["north"].amounts) == (Till(5), {"Heard": "handled"}, [5])
    assert (again.version, again.command_id) == (1, command_id)
    (event,) = await makers.stores["north"].read_stream("till-a")
    assert (event.correlation_id, event.causation_id) == (correlation_id, command_id)
    assert b'"tenant":"north"' in event.metadata.replace(b" ", b"")
    assert (stays.version, await own.head()) == (1, 1)


async def test_commands_that_are_decided_as_one_are_not_handed_away_one_by_one(
    tenants: Tenants, makers: Makers
) -> None:
    commands = [PutIn("a", 1), PutIn("b", 1)]
    async with front(tenants) as app:
        with pytest.raises(InvalidOption, match="PutIn is to be decided as one with others"):
            await app.dispatch_together(commands, metadata={"tenant": "north"})
        assert await makers.stores["north"].head() == 0
        assert len(await app.dispatch_together(commands)) == 2
    assert len(await (await tenants.application("north")).dispatch_together(commands)) == 2


async def test_all_are_closed_at_the_same_time(makers: Makers) -> None:
    async with Tenants(makers) as tenants:
        opened = [await tenants.application(name) for name in makers.stores]
        for store in makers.stores.values():
            store.may_close.clear()
        closing = asyncio.ensure_future(tenants.__aexit__(None, None, None))
        for store in makers.stores.values():
            await store.closing.wait()
        for store in makers.stores.values():
            store.may_close.set()
        await closing

    for each in opened:
        with pytest.raises(NotRunning):
            await each.dispatch(PutIn("a", 1))
    with pytest.raises(NotRunning):
        await tenants.application("north")


async def test_one_that_is_being_opened_is_closed_with_the_others(makers: Makers) -> None:
    store = makers.stores["north"]
    store.may_open.clear()
    async with Tenants(makers) as tenants:
        asked = asyncio.ensure_future(tenants.application("north"))
        await store.opening.wait()
        closing = asyncio.ensure_future(tenants.__aexit__(None, None, None))
        await asyncio.sleep(0)
        store.may_open.set()
        await closing

    assert store.closing.is_set()
    with pytest.raises(NotRunning):
        await (await asked).dispatch(PutIn("a", 1))


async def test_a_part_that_died_in_one_is_told_when_all_are_closed(
    makers: Makers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(before: object) -> int:
        raise LookupError(before)

    monkeypatch.setattr(makers.stores["north"], "prune_receipts", broken)
    tenants = await Tenants(makers).__aenter__()
    north, south = [await tenants.application(name) for name in ("north", "south")]

    async def has_died() -> bool:
        return (await north.health()).state == "failed"

    await eventually(has_died)
    assert (await south.dispatch(PutIn("a", 1))).version == 1
    with pytest.raises(SubsystemFailed, match="receipts has failed"):
        await tenants.__aexit__(None, None, None)
    assert makers.stores["south"].closing.is_set()


async def test_one_that_is_closed_is_opened_anew_for_who_asks_next(tenants: Tenants, makers: Makers) -> None:
    north, south = [await tenants.application(name) for name in ("north", "south")]
    await north.dispatch(PutIn("a", 1))

    await tenants.close("north")
    await tenants.close("north")

    assert dict(tenants.opened) == {"south": south}
    with pytest.raises(NotRunning):
        await north.dispatch(PutIn("a", 1))
    assert (await (await tenants.application("north")).dispatch(PutIn("a", 1))).version == 2
    assert makers.made == ["north", "south", "north"]


async def test_who_has_no_time_to_close_them_leaves_no_task_and_nobody_waiting(makers: Makers) -> None:
    makers.stores["south"].may_open.clear()
    tenants = await Tenants(makers).__aenter__()
    await tenants.application("north")
    asked = asyncio.ensure_future(tenants.application("south"))
    await makers.stores["south"].opening.wait()
    closing = asyncio.ensure_future(tenants.__aexit__(None, None, None))
    await asyncio.sleep(0)

    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    with pytest.raises(NotRunning):
        await asked
    assert makers.stores["north"].closing.is_set()


async def test_what_is_not_open_opens_nothing(makers: Makers) -> None:
    with pytest.raises(NotRunning):
        await Tenants(makers).application("north")
    assert not makers.made
