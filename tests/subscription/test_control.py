"""What is asked of a subscription from one node is done on whatever node it runs, and nothing is left out by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from framework import (
    Application,
    Backoff,
    Connection,
    Consistency,
    EventHandler,
    MemoryEventStore,
    PostgresEventStore,
    Projector,
    Recorded,
)
from framework.errors import ConfigurationError, InvalidRequest, SubscriptionInUse, UnknownSubscription
from framework.handler import StartFrom
from framework.policies import Defaults
from framework.store.protocol import EventStore
from framework.subscription.delivery import SlotRunner
from framework.testing import eventually
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema

QUICK = Defaults(handler_retry=Backoff(attempts=1, first=timedelta(milliseconds=1)))


class Mail(EventHandler[Moved]):
    """Remembers what it was given; one that is held back waits in the middle of an event."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.jams_at: set[int] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, event: Recorded[Moved]) -> None:
        if event.data.amount in self.jams_at:
            raise OSError("no paper")
        self.seen.append(event.data.amount)
        await self.gate.wait()


@pytest.fixture(params=["memory", "postgres"])
async def node(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Callable[[], EventStore]]:
    """Makes the store of a node; all of them have one log."""
    if request.param == "memory":
        store = MemoryEventStore()
        yield lambda: store
    else:
        async with fresh_schema(dsn) as schema:
            yield lambda: PostgresEventStore(dsn, schema=schema)


@asynccontextmanager
async def two(
    node: Callable[[], EventStore], handler: EventHandler[Moved]
) -> AsyncGenerator[tuple[Application, Application]]:
    """Open an application that runs *handler*, and another that does not."""
    here = Application(store=node(), router=tills(), handlers=[handler], defaults=QUICK)
    there = Application(store=node(), router=tills(), defaults=QUICK)
    async with here, there:
        yield here, there


async def put_in(app: Application, *amounts: int) -> None:
    for amount in amounts:
        await app.dispatch(PutIn("a", amount))


async def stands_still(app: Application) -> None:
    """Return when nobody runs anything."""

    async def nobody() -> None:
        assert [slot.owner for state in await app.subscriptions.list() for slot in state.slots] == [None]

    await eventually(nobody)


async def is_taken_anew(app: Application) -> None:
    """Return when the one slot there is was taken from its owner, and taken again."""

    async def owned() -> None:
        ((slot,),) = [state.slots for state in await app.subscriptions.list()]
        assert (slot.fence, slot.is_owned) == (3, True)

    await eventually(owned)


# Pause and resume ----------------------------------------------------------------------------------


async def test_a_handler_is_paused_and_resumed_from_another_node(node: Callable[[], EventStore]) -> None:
    mail = Mail()
    async with two(node, mail) as (here, there):
        await here.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)

        await there.subscriptions.pause("Mail")
        await stands_still(there)
        await put_in(here, 2, 3)
        (state,) = await there.subscriptions.list()
        assert (state.name, state.is_paused, state.position, mail.seen) == ("Mail", True, 1, [1])

        await there.subscriptions.resume("Mail")
        await eventually(lambda: mail.seen == [1, 2, 3])
        (state,) = await here.subscriptions.list()
        assert not state.is_paused


async def test_a_pause_outlives_those_who_run_it(node: Callable[[], EventStore]) -> None:
    async with two(node, Mail()) as (here, _):
        await here.subscriptions.pause(Mail)
    mail = Mail()
    async with two(node, mail) as (here, there):
        await put_in(here, 1)
        await stands_still(here)
        assert mail.seen == []

        await there.subscriptions.resume("Mail")
        await eventually(lambda: mail.seen == [1])


async def test_a_pause_takes_effect_behind_the_event_in_hand(
    node: Callable[[], EventStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(node, Mail()) as (here, _):
        await here.subscriptions.pause(Mail)
        await stands_still(here)
        await put_in(here, 1, 2, 3)
    stopped = asyncio.Event()
    stop = SlotRunner.stop

    def heard(runner: SlotRunner) -> None:
        stop(runner)
        stopped.set()

    monkeypatch.setattr(SlotRunner, "stop", heard)
    mail = Mail()
    mail.gate.clear()
    async with two(node, mail) as (_, there):
        await there.subscriptions.resume("Mail")
        await eventually(lambda: mail.seen == [1])  # and two more are in the same page

        await there.subscriptions.pause("Mail")
        await stopped.wait()
        mail.gate.set()

        await stands_still(there)
        (state,) = await there.subscriptions.list()
        assert (state.position, mail.seen) == (1, [1])


# Reset ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "again"), [("origin", [1, 2, 3]), (0, [1, 2, 3]), (2, [3]), ("now", [])])
async def test_a_handler_begins_anew_where_it_is_told_to_from_another_node(
    node: Callable[[], EventStore], start: StartFrom, again: list[int]
) -> None:
    mail = Mail()
    async with two(node, mail) as (here, there):
        await put_in(here, 1, 2, 3)
        await eventually(lambda: mail.seen == [1, 2, 3])

        position = await there.subscriptions.reset("Mail", start)
        await is_taken_anew(there)
        await put_in(here, 4)

        await eventually(lambda: mail.seen == [1, 2, 3, *again, 4])
        assert position == 3 - len(again)


async def test_a_handler_begins_anew_behind_a_moment(node: Callable[[], EventStore]) -> None:
    mail = Mail()
    async with two(node, mail) as (here, there):
        await put_in(here, 1, 2, 3)
        await eventually(lambda: mail.seen == [1, 2, 3])
        moments = [event.recorded_at async for event in _first(here, 3)]

        await there.subscriptions.reset("Mail", moments[1])

        await eventually(lambda: mail.seen == [1, 2, 3, 3])


async def _first(app: Application, count: int) -> AsyncGenerator[Recorded[Any]]:
    async for event in app.events():
        yield event
        if event.position == count:
            return


async def test_what_an_owner_had_in_hand_does_not_move_what_begins_anew(node: Callable[[], EventStore]) -> None:
    mail = Mail()
    async with two(node, mail) as (here, there):
        await here.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        mail.gate.clear()
        await put_in(here, 2)
        await eventually(lambda: mail.seen == [1, 2])

        await there.subscriptions.reset("Mail")
        mail.gate.set()

        await eventually(lambda: mail.seen == [1, 2, 1, 2])


async def test_a_paused_handler_begins_anew_when_it_is_resumed(node: Callable[[], EventStore]) -> None:
    mail = Mail()
    async with two(node, mail) as (here, there):
        await here.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        await there.subscriptions.pause("Mail")
        await stands_still(there)

        await there.subscriptions.reset("Mail")
        await stands_still(there)
        assert mail.seen == [1]

        await there.subscriptions.resume("Mail")
        await eventually(lambda: mail.seen == [1, 1])


async def test_what_was_parked_comes_again_and_is_parked_no_more(node: Callable[[], EventStore]) -> None:
    mail = Mail()
    mail.jams_at.add(1)
    async with two(node, mail) as (here, there):
        result = await here.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        assert result.waited == {"Mail": "parked"}
        mail.jams_at.clear()

        await there.subscriptions.reset("Mail")

        await eventually(lambda: mail.seen == [1])
        assert await here.subscriptions.parked() == []


async def test_a_handler_is_not_moved_beyond_the_log(node: Callable[[], EventStore]) -> None:
    async with two(node, Mail()) as (here, there):
        await put_in(here, 1)

        with pytest.raises(ConfigurationError, match="Mail is to start behind position 2, and the log ends at 1"):
            await there.subscriptions.reset("Mail", 2)
        with pytest.raises(ConfigurationError, match="Mail cannot start from 'yesterday'"):
            await there.subscriptions.reset("Mail", "yesterday")  # type: ignore[arg-type]


class Sums(Projector[Moved]):
    schema = "CREATE TABLE sums (amount bigint)"

    async def project(self, event: Recorded[Moved], db: Connection) -> None:
        """Leave it at that."""


async def test_a_projector_is_paused_but_does_not_begin_anew(dsn: str) -> None:
    async with fresh_schema(dsn) as schema:
        store = PostgresEventStore(dsn, schema=schema)
        async with Application(store=store, router=tills(), projectors=[Sums()]) as app:
            await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
            await app.subscriptions.pause(Sums)
            await stands_still(app)

            with pytest.raises(
                InvalidRequest, match="Sums v1 is a projector, which does not begin anew: raise its ver"
            ):
                await app.subscriptions.reset(Sums)

            (state,) = await app.subscriptions.list()
            assert (state.name, state.definition.kind, state.position) == ("Sums v1", "projector", 1)


# Delete --------------------------------------------------------------------------------------------


async def test_a_subscription_is_deleted_once_nobody_runs_it(node: Callable[[], EventStore]) -> None:
    mail = Mail()
    mail.jams_at.add(1)
    async with two(node, mail) as (here, there):
        await here.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)

        with pytest.raises(SubscriptionInUse, match="Mail is run at this moment: stop those who run it, or pause it"):
            await there.subscriptions.delete("Mail")
    again = Mail()
    async with Application(store=node(), router=tills()) as app:
        await app.subscriptions.delete("Mail")
        assert await app.subscriptions.list() == []
    async with two(node, again) as (here, _):
        await eventually(lambda: again.seen == [1])
        assert await here.subscriptions.parked() == []


async def test_a_subscription_that_there_is_not_is_named(node: Callable[[], EventStore]) -> None:
    async with two(node, Mail()) as (_, there):
        control = there.subscriptions
        for ask in (control.pause, control.resume, control.reset, control.delete):
            with pytest.raises(UnknownSubscription, match="there is no subscription 'Fax'; there are: Mail"):
                await ask("Fax")


class Wide(Mail):
    partitions: ClassVar[int] = 3
    start_from: ClassVar[StartFrom] = "now"
    prefix: ClassVar[str] = "till-"


async def test_the_list_says_how_each_is_defined(node: Callable[[], EventStore]) -> None:
    async with two(node, Wide()) as (_, there):
        (state,) = await there.subscriptions.list()

    recorded = state.definition
    assert (recorded.kind, recorded.types, recorded.partitions, recorded.partition_by) == (
        "handler",
        ("Moved",),
        3,
        "stream",
    )
    assert (recorded.start_from, recorded.prefix, recorded.stream, len(state.slots)) == ("now", "till-", None, 3)
