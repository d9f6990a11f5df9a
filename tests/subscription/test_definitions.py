"""A subscription is what is recorded of it: it becomes another one when somebody says so, and nobody undoes that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, ClassVar

import attrs
import pytest

from framework import (
    Application,
    Consistency,
    EventHandler,
    MemoryEventStore,
    PostgresEventStore,
    ProcessManager,
    Recorded,
    Start,
)
from framework.errors import ConfigurationError, SubscriptionChanged
from framework.store.postgres import statements
from framework.store.protocol import EventStore
from framework.store.subscriptions import Definition, OnChange
from framework.testing import WatchedApplication, eventually
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        async with fresh_schema(dsn) as schema:
            yield PostgresEventStore(dsn, schema=schema)


class Told(EventHandler[Moved]):
    """Remembers what it was given, and whether it had been given that before."""

    name = "Told"

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.replayed: list[bool] = []

    async def handle(self, event: Recorded[Moved]) -> None:
        self.seen.append((event.stream, event.data.amount))
        self.replayed.append(event.replaying)


def shop(store: EventStore, *handlers: EventHandler[Moved]) -> WatchedApplication:
    return WatchedApplication(store=store, router=tills(), handlers=handlers)


async def seen_by(store: EventStore, handler: Told, *moves: tuple[str, int]) -> Sequence[tuple[str, int]]:
    """Return what *handler* is given while *moves* are made."""
    async with shop(store, handler) as app:
        for till, amount in moves:
            await app.dispatch(PutIn(till, amount))
        await app.settled()
    return handler.seen


class OfOneTillOnly(Told):
    stream: ClassVar[str | None] = "till-b"


class OfEveryTill(Told):
    revision: ClassVar[int] = 2
    on_change: ClassVar[OnChange] = "keep"


class OfEveryTillAnew(OfEveryTill):
    on_change: ClassVar[OnChange] = "reset"


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (OfEveryTill, [("till-a", 3), ("till-a", 4)]),
        (OfEveryTillAnew, [("till-a", 1), ("till-b", 2), ("till-a", 3), ("till-a", 4)]),
    ],
)
async def test_a_later_definition_goes_on_or_begins_anew(
    store: EventStore, kind: type[Told], wanted: Sequence[tuple[str, int]]
) -> None:
    await seen_by(store, OfOneTillOnly(), ("a", 1), ("b", 2))

    assert await seen_by(store, kind(), ("a", 3), ("a", 4)) == wanted
    with pytest.raises(SubscriptionChanged, match="raise its revision"):
        async with shop(store, OfOneTillOnly()):
            pass


async def test_who_runs_an_earlier_definition_passes_nothing_that_the_later_one_wants(store: EventStore) -> None:
    earlier, later = OfOneTillOnly(), OfEveryTill()
    async with shop(store, earlier) as app:
        await app.dispatch(PutIn("b", 1), consistency=Consistency.STRONG)
        (state,) = await store.subscriptions.states()
        changed = attrs.evolve(state.definition, stream=None, revision=2)
        await store.subscriptions.define(changed, start=0, on_change="keep")

        async def stands_still() -> bool:
            return bool((await app.health()).halted)

        await eventually(stands_still)
        await app.dispatch(PutIn("a", 2))
        await app.dispatch(PutIn("b", 3))

    assert await seen_by(store, later, ("b", 4)) == [("till-a", 2), ("till-b", 3), ("till-b", 4)]
    assert earlier.seen == [("till-b", 1)]


async def test_a_later_definition_that_says_nothing_of_what_becomes_of_it_is_refused(store: EventStore) -> None:
    await seen_by(store, OfOneTillOnly(), ("b", 1))

    class Undecided(Told):
        revision: ClassVar[int] = 2

    with pytest.raises(SubscriptionChanged, match="raise its revision and say on_change = 'keep' or 'reset'"):
        async with shop(store, Undecided()):
            pass


async def test_a_revision_without_a_change_takes_nothing_from_those_who_run_it(store: EventStore) -> None:
    class Again(Told):
        revision: ClassVar[int] = 2

    earlier = Told()
    async with shop(store, earlier) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        (state,) = await store.subscriptions.states()

        await store.subscriptions.define(attrs.evolve(state.definition, revision=2), start=0)
        await app.dispatch(PutIn("a", 2), consistency=Consistency.STRONG)

        (later,) = await store.subscriptions.states()
        assert (later.definition.revision, later.slots[0].fence) == (2, state.slots[0].fence)

    assert await seen_by(store, Again(), ("a", 3)) == [("till-a", 3)]
    assert await seen_by(store, Told(), ("a", 4)) == [("till-a", 4)]


@pytest.mark.parametrize(("revision", "wins"), [(3, False), (5, True)])
async def test_of_two_nodes_that_change_it_at_once_the_later_definition_stays(
    dsn: str, revision: int, wins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defined(number: int, *types: str) -> Definition:
        return Definition("Told", types, 1, "stream", revision=number)

    async with (
        fresh_schema(dsn) as schema,
        PostgresEventStore(dsn, schema=schema) as one,
        PostgresEventStore(dsn, schema=schema) as other,
    ):
        await one.subscriptions.define(defined(1, "A"), start=0)
        subscriptions: Any = one.subscriptions
        fetch = subscriptions._fetch
        overtaken: list[bool] = []

        async def overtake(statement: str, *arguments: object) -> Any:
            if statement == statements.REDEFINE_SUBSCRIPTION and not overtaken:
                overtaken.append(True)
                await other.subscriptions.define(defined(4, "A", "B"), start=0, on_change="keep")
            return await fetch(statement, *arguments)

        monkeypatch.setattr(one.subscriptions, "_fetch", overtake)
        refused: list[SubscriptionChanged] = []
        try:
            await one.subscriptions.define(defined(revision, "A", "C"), start=0, on_change="keep")
        except SubscriptionChanged as error:
            refused.append(error)

        (state,) = await other.subscriptions.states()
        assert overtaken
        assert state.definition == (defined(revision, "A", "C") if wins else defined(4, "A", "B"))
        assert bool(refused) is not wins
        assert state.slots[0].fence % 1_000_000_000 == (2 if wins else 1)


async def test_of_two_nodes_that_make_one_change_one_does(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    later = Definition("Told", ("A", "B"), 1, "stream", revision=2)
    async with (
        fresh_schema(dsn) as schema,
        PostgresEventStore(dsn, schema=schema) as one,
        PostgresEventStore(dsn, schema=schema) as other,
    ):
        await one.subscriptions.define(Definition("Told", ("A",), 1, "stream"), start=0)
        subscriptions: Any = one.subscriptions
        fetch = subscriptions._fetch

        async def overtake(statement: str, *arguments: object) -> Any:
            if statement == statements.REDEFINE_SUBSCRIPTION:
                await other.subscriptions.define(later, start=0, on_change="keep")
            return await fetch(statement, *arguments)

        monkeypatch.setattr(one.subscriptions, "_fetch", overtake)
        await one.subscriptions.define(later, start=0, on_change="keep")

        (state,) = await other.subscriptions.states()
        assert state.definition == later
        assert state.slots[0].fence % 1_000_000_000 == 1


# What comes again ----------------------------------------------------------------------------------


async def test_what_comes_again_says_so_after_a_reset(store: EventStore) -> None:
    handler = Told()
    async with shop(store, handler) as app:
        await app.dispatch(PutIn("a", 1))
        await app.dispatch(PutIn("a", 2), consistency=Consistency.STRONG)

        await app.subscriptions.reset(Told)
        await eventually(lambda: len(handler.seen) == 4)
        await app.dispatch(PutIn("a", 3))
        await eventually(lambda: [amount for _, amount in handler.seen] == [1, 2, 1, 2, 3])

    assert handler.replayed == [False, False, True, True, False]


async def test_what_comes_again_says_so_after_a_later_definition(store: EventStore) -> None:
    await seen_by(store, OfOneTillOnly(), ("b", 1))
    later = OfEveryTillAnew()

    assert await seen_by(store, later, ("a", 2)) == [("till-b", 1), ("till-a", 2)]
    assert later.replayed == [True, False]


# Processes -----------------------------------------------------------------------------------------


@attrs.frozen
class Emptied:
    """What no till says as yet."""


async def test_a_process_that_listens_to_more_goes_on_with_its_instances(store: EventStore) -> None:
    @attrs.frozen
    class Carries(ProcessManager[Moved, PutIn]):
        @classmethod
        def interested(cls, event: Moved) -> Start | None:
            return Start("one") if event.amount == 1 else None

        def handle(self, event: Moved) -> Iterator[PutIn]:
            yield PutIn("vault", event.amount + 10)

    @attrs.frozen
    class More(ProcessManager[Moved | Emptied, PutIn]):
        revision: ClassVar[int] = 2

        @classmethod
        def interested(cls, event: Moved | Emptied) -> Start | None:
            return Start("one") if isinstance(event, Moved) and event.amount == 1 else None

        def handle(self, event: Moved | Emptied) -> Iterator[PutIn]:
            del event
            yield PutIn("vault", 20)

    More.__name__ = "Carries"
    async with WatchedApplication(store=store, router=tills(), processes=[Carries]) as app:
        await app.dispatch(PutIn("a", 1))
        await app.settled()
    async with WatchedApplication(store=store, router=tills(), processes=[More]) as app:
        await app.dispatch(PutIn("a", 1))
        await app.settled()
        moves = [event.data.amount for event in await app.recorded(stream="till-vault")]

    assert moves == [11, 20]
    with pytest.raises(SubscriptionChanged, match="raise its revision above 2"):
        async with Application(store=store, router=tills(), processes=[Carries]):
            pass


# What cannot be ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1, True, 1.5, "2", None])
def test_a_revision_that_there_cannot_be_is_refused_when_the_application_is_built(number: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Odd has revision = .*: count from 1"):
        shop(MemoryEventStore(), type("Odd", (Told,), {"revision": number, "name": "Odd"})())


@pytest.mark.parametrize("said", ["", "maybe", None, True])
def test_a_change_that_there_cannot_be_is_refused_when_the_application_is_built(said: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Odd has on_change = .*: say 'refuse', 'keep' or 'reset'"):
        shop(MemoryEventStore(), type("Odd", (Told,), {"on_change": said, "name": "Odd"})())
