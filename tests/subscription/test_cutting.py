"""A subscription is cut into another number of slots while it runs: each event takes effect once, and in its order."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar

import asyncpg
import attrs
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
from framework.errors import SubscriptionChanged
from framework.policies import Defaults
from framework.read_models import LOCK_ALL, ReadModel
from framework.store.postgres import presence
from framework.store.protocol import EventStore
from framework.store.subscriptions import Cut, OnChange, SubscriptionState
from framework.subscription.delivery import SlotRunner, slot_of_key
from framework.testing import eventually
from framework.testing.store_contract.parts import outcomes
from tests.processes.jobs import Job, Say, office
from tests.processes.jobs import running as heard_by
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema

QUICK = Defaults(handler_retry=Backoff(attempts=1, first=timedelta(milliseconds=1)))
TILLS = 12
BILLION = 1_000_000_000
LEVEL = "UPDATE framework_projections.progress SET position = 1 WHERE schema_name = $1"
WAITING = """
    SELECT count(*) FROM pg_stat_activity
     WHERE wait_event_type = 'Lock' AND query LIKE '%framework_projections.pro% FOR %UPDATE%'
"""
SOON = timedelta(seconds=20)

Node = Callable[[], EventStore]


class World:
    """What is outside of every node: the effects of a handler, in the order in which they were done."""

    def __init__(self) -> None:
        self.effects: list[tuple[str, int]] = []
        self.jams: set[str] = set()
        self.gates: dict[str, asyncio.Event] = {}
        """Streams whose next event waits in hand."""

    def positions(self) -> list[int]:
        return [position for _, position in self.effects]


class Stop:
    """Somebody who stands still before a step."""

    def __init__(self) -> None:
        self.here = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.answers: list[object] = []
        """What became of the step, each time that it was done after all."""


class Mail(EventHandler[Moved]):
    name = "Mail"
    on_change: ClassVar[OnChange] = "keep"

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle(self, event: Recorded[Moved]) -> None:
        if event.stream in self._world.jams:
            raise OSError("no paper")
        self._world.effects.append((event.stream, event.position))
        if (gate := self._world.gates.get(event.stream)) is not None:
            await gate.wait()


class Sums(Projector[Moved]):
    name = "Sums"
    schema = "CREATE TABLE sums (till text PRIMARY KEY, amount bigint NOT NULL, moves bigint NOT NULL)"

    async def project(self, event: Recorded[Moved], db: Connection) -> None:
        await db.execute(
            "INSERT INTO sums AS s VALUES ($1, $2, 1)"
            " ON CONFLICT (till) DO UPDATE SET amount = s.amount + $2, moves = s.moves + 1",
            event.stream,
            event.data.amount,
        )


def in_slots(reader: type[Any], count: int, number: int) -> type[Any]:
    """Return *reader* as a release has it that wants so many slots, with its revision."""
    return type(reader.__name__, (reader,), {"partitions": count, "revision": number})


@pytest.fixture(autouse=True)
def frequent_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait two seconds to look again."""
    monkeypatch.setattr(presence, "RENEW", timedelta(seconds=0.1))


@pytest.fixture
async def schema(dsn: str) -> AsyncIterator[str]:
    async with fresh_schema(dsn) as name:
        yield name


@pytest.fixture(params=["memory", "postgres"])
async def node(request: pytest.FixtureRequest, dsn: str, schema: str) -> Node:
    """Makes the store of a node; all of them have one log."""
    store = MemoryEventStore()
    return (lambda: store) if request.param == "memory" else lambda: PostgresEventStore(dsn, schema=schema)


def running(store: EventStore, *readers: EventHandler[Any] | Projector[Any]) -> Application:
    handlers = [each for each in readers if isinstance(each, EventHandler)]
    projectors = [each for each in readers if isinstance(each, Projector)]
    return Application(store=store, router=tills(), handlers=handlers, projectors=projectors, defaults=QUICK)


@asynccontextmanager
async def traffic(app: Application) -> AsyncGenerator[None, None]:
    """Have money put into all tills while inside, and some more before and after."""
    is_over = False
    count = 0
    came = asyncio.Condition()

    async def customer(number: int) -> None:
        nonlocal count
        while not is_over:
            await app.dispatch(PutIn(f"{number}", 1))
            async with came:
                count += 1
                came.notify_all()

    async def goes_on() -> None:
        goal = count + 2 * TILLS
        async with came:
            await came.wait_for(lambda: count >= goal)

    async with asyncio.TaskGroup() as customers:
        for number in range(TILLS):
            customers.create_task(customer(number))
        await goes_on()
        yield
        await goes_on()
        is_over = True


async def state_of(app: Application) -> SubscriptionState:
    (state,) = await app.subscriptions.list()
    return state


async def are_cut(app: Application, count: int) -> None:
    """Return when there are *count* slots, and all of them are run."""

    async def is_so() -> None:
        state = await state_of(app)
        assert (len(state.slots), state.is_held) == (count, False)
        assert all(slot.is_owned for slot in state.slots)

    await eventually(is_so, SOON)


async def is_held(app: Application) -> None:
    async def is_so() -> bool:
        return (await state_of(app)).is_held

    await eventually(is_so)


async def all_is_done(app: Application, world: World) -> None:
    """See each event of the log done once, those of a stream in their order."""
    log = [event async for event in _log(app)]

    def is_done() -> None:
        assert sorted(world.positions()) == [event.position for event in log]

    await eventually(is_done, SOON)
    by_stream: defaultdict[str, list[int]] = defaultdict(list)
    for stream, position in world.effects:
        by_stream[stream].append(position)
    assert all(each == sorted(each) for each in by_stream.values())


async def _log(app: Application) -> AsyncGenerator[Recorded[Any]]:
    result = await app.dispatch(PutIn("last", 1))
    async for event in app.events():
        yield event
        if event.position == result.position:
            return


async def all_is_summed_up(app: Application, projector: type[Sums]) -> None:
    """See the rows be a fold of the log."""
    log = [event async for event in _log(app)]
    sums: dict[str, tuple[int, int]] = {}
    for event in log:
        amount, moves = sums.get(event.stream, (0, 0))
        sums[event.stream] = amount + event.data.amount, moves + 1

    async def is_so() -> None:
        rows = await app.query(projector, "SELECT till, amount, moves FROM sums")
        assert {row["till"]: (row["amount"], row["moves"]) for row in rows} == sums

    await eventually(is_so, SOON)


# Handlers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(1, 3), (2, 5), (5, 2), (3, 1)])
async def test_a_handler_has_other_slots_while_events_come_and_does_each_once(
    node: Node, before: int, after: int
) -> None:
    world = World()
    earlier, later = in_slots(Mail, before, 1), in_slots(Mail, after, 2)
    async with running(node(), earlier(world)) as old, AsyncExitStack() as stack:
        async with traffic(old):
            new = await stack.enter_async_context(running(node(), later(world)))
            await are_cut(new, after)

        await all_is_done(new, world)


async def test_slots_are_not_cut_while_an_event_is_in_hand(node: Node) -> None:
    world = World()
    gate = world.gates["till-slow"] = asyncio.Event()
    async with running(node(), in_slots(Mail, 2, 1)(world)) as old:
        await old.dispatch(PutIn("slow", 1))
        await eventually(lambda: world.effects == [("till-slow", 1)])

        async with running(node(), in_slots(Mail, 3, 2)(world)) as new:
            await is_held(new)
            for number in range(TILLS):
                await new.dispatch(PutIn(f"{number}", 1))
            await new.subscriptions.list()
            assert len((await state_of(new)).slots) == 2
            assert world.effects == [("till-slow", 1)]

            gate.set()

            await are_cut(new, 3)
            await all_is_done(new, world)


async def test_one_that_is_behind_is_run_up_to_the_others_before_they_are_cut(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the lower position what the one ahead has done would come again; at the higher, events would be left out."""
    world = World()
    store = node()
    async with running(store) as front:
        for number in range(TILLS):
            await front.dispatch(PutIn(f"{number}", 1))
    gate = world.gates["till-0"] = asyncio.Event()
    streams = {f"till-{number}" for number in range(TILLS)}
    ahead = {stream for stream in streams if slot_of_key(stream, 2) != slot_of_key("till-0", 2)}
    async with running(node(), in_slots(Mail, 2, 1)(world)) as old:
        await eventually(lambda: {stream for stream, _ in world.effects} == {"till-0", *ahead})
        stop, stopped = SlotRunner.stop, list[SlotRunner]()

        def heard(runner: SlotRunner) -> None:
            stop(runner)
            stopped.append(runner)

        monkeypatch.setattr(SlotRunner, "stop", heard)
        await old.subscriptions.pause("Mail")
        await eventually(lambda: len(stopped) == 2)
        gate.set()

        await nobody_runs(old)
        assert len({slot.position for slot in (await state_of(old)).slots}) == 2

        async with running(node(), in_slots(Mail, 3, 2)(world)) as new:
            assert (await state_of(new)).is_held
            await new.subscriptions.resume("Mail")
            await are_cut(new, 3)
            await all_is_done(new, world)


async def test_a_key_that_is_held_back_moves_with_what_is_parked_of_it(node: Node) -> None:
    world = World()
    world.jams.add("till-a")
    async with running(node(), in_slots(Mail, 2, 1)(world)) as old:
        await old.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        async with running(node(), in_slots(Mail, 7, 2)(world)) as new:
            await are_cut(new, 7)
            world.jams.clear()
            result = await new.dispatch(PutIn("a", 2), consistency=Consistency.STRONG)
            assert result.waited == {"Mail": "parked"}
            assert world.effects == []

            await new.subscriptions.retry("Mail")

            await eventually(lambda: world.positions() == [1, 2])
            assert await new.subscriptions.parked() == []


async def test_whoever_waits_while_slots_are_cut_is_told_of_the_event_and_not_of_a_slot(node: Node) -> None:
    world = World()
    async with running(node(), in_slots(Mail, 2, 1)(world)) as old, running(node()) as front:
        await front.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        async with running(node(), in_slots(Mail, 5, 2)(world)) as new:
            for number in range(3 * TILLS):
                app = (old, front, new)[number % 3]
                result = await app.dispatch(PutIn(f"{number}", 1), consistency=["Mail"])
                assert result.waited == {"Mail": "handled"}
                assert result.position in world.positions()


async def test_an_earlier_release_runs_as_many_slots_as_there_are_and_does_not_undo_it(node: Node) -> None:
    world = World()
    earlier, later = in_slots(Mail, 2, 1), in_slots(Mail, 5, 2)
    async with running(node(), later(world)) as new:
        async with running(node(), earlier(world)) as old:
            await are_cut(old, 5)
            await all_is_done(old, world)
            assert (await old.health()).is_healthy
            assert (await state_of(old)).definition.partitions == 5
        await all_is_done(new, world)


async def test_another_number_of_slots_without_a_higher_revision_is_refused(node: Node) -> None:
    world = World()
    async with running(node(), in_slots(Mail, 2, 1)(world)):
        with pytest.raises(SubscriptionChanged, match="partitions was 2 and is 3: raise its revision above 1"):
            async with running(node(), in_slots(Mail, 3, 1)(world)):
                pass


# Processes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(1, 3), (5, 2)])
async def test_a_process_has_other_slots_while_events_come_and_each_instance_hears_of_each_once(
    node: Node, before: int, after: int
) -> None:
    earlier, later = (attrs.frozen(in_slots(Job, *release)) for release in ((before, 1), (after, 2)))
    stores = node(), node()
    jobs = [f"{number}" for number in range(TILLS)]
    async with Application(store=stores[0], router=office(), processes=[earlier]) as old, AsyncExitStack() as stack:
        for number in range(3):
            await old.dispatch(Say(f"at {number}", f"{number}", tuple(jobs)))
        new = await stack.enter_async_context(Application(store=stores[1], router=office(), processes=[later]))
        for number in range(3, 9):
            await old.dispatch(Say(f"at {number}", f"{number}", tuple(jobs)))
        await are_cut(new, after)
        await old.dispatch(Say("at last", "9", tuple(jobs)), consistency=["Job"])

        heard = await heard_by(stores[0], *jobs)
        assert heard == {job: [str(number) for number in range(10)] for job in jobs}

        async def all_is_noted() -> None:
            page = await stores[0].read_log(types=["Noted"], limit=1_000)
            assert len(page.events) == 10 * len(jobs)

        await eventually(all_is_noted, SOON)


# Projectors ----------------------------------------------------------------------------------------


@pytest.fixture
def nodes(dsn: str, schema: str) -> Callable[[], PostgresEventStore]:
    return lambda: PostgresEventStore(dsn, schema=schema)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (5, 2)])
async def test_a_projector_has_other_slots_while_events_come_and_its_rows_are_a_fold_of_the_log(
    nodes: Callable[[], PostgresEventStore], before: int, after: int
) -> None:
    earlier, later = in_slots(Sums, before, 1), in_slots(Sums, after, 2)
    async with running(nodes(), earlier()) as old, AsyncExitStack() as stack:
        async with traffic(old):
            new = await stack.enter_async_context(running(nodes(), later()))
            await are_cut(new, after)

        await all_is_summed_up(new, later)


@asynccontextmanager
async def stopped_at(where: Any, step: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Stop, None]:
    """Have whoever comes to *step* of *where* stand still before it, until told to go on."""
    stop = Stop()
    work = getattr(where, step)

    async def stopping(*arguments: Any) -> Any:
        stop.here.set()
        await stop.goes_on.wait()
        stop.answers.append(await work(*arguments))
        return stop.answers[-1]

    monkeypatch.setattr(where, step, stopping)
    try:
        yield stop
    finally:
        stop.goes_on.set()


def models_of(app: Any) -> list[ReadModel]:
    models: list[ReadModel] = list(app._alive().models)
    return models


@pytest.mark.parametrize("step", ["places beside the rows", "slots"])
async def test_who_cuts_may_stop_before_any_step_and_go_on_when_others_have_come_further(
    nodes: Callable[[], PostgresEventStore], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the last one the places beside the rows are new, and the slots are not: nobody may run one of these."""
    first, second, third = (in_slots(Sums, count, revision) for count, revision in ((2, 1), (5, 2), (3, 3)))
    store = nodes()
    async with running(store, first()) as one:
        (model,) = models_of(one)
        where, name = (store.subscriptions, "cut") if step == "slots" else (model, "cut")
        async with traffic(one), stopped_at(where, name, monkeypatch) as stop:
            # Another release says what it wants, and does not come to do it.
            recorded = (await state_of(one)).definition
            await store.subscriptions.define(
                attrs.evolve(recorded, partitions=5, revision=2), start=0, on_change="keep"
            )
            await stop.here.wait()
            assert len(await model.places()) == (5 if step == "slots" else 2)
            assert len((await state_of(one)).slots) == 2
            assert not any(slot.owner for slot in (await state_of(one)).slots)

            async with running(nodes(), second()) as other:
                await are_cut(other, 5)
                await one.dispatch(PutIn("b", 1), consistency=Consistency.STRONG)
                async with running(nodes(), third()) as later:
                    await are_cut(later, 3)
                    stop.goes_on.set()
                    await eventually(lambda: stop.answers[:1] == [False])
                    await later.dispatch(PutIn("b", 1), consistency=Consistency.STRONG)
        await all_is_summed_up(one, first)
        assert len((await state_of(one)).slots) == len(await model.places()) == 3


async def test_of_many_nodes_that_cut_at_once_each_finds_what_the_others_have_done(
    dsn: str, schema: str, nodes: Callable[[], PostgresEventStore]
) -> None:
    store, projector = nodes(), in_slots(Sums, 2, 1)
    async with running(store, projector()) as one, AsyncExitStack() as stack:
        await one.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        await one.subscriptions.pause("Sums")
        await nobody_runs(one)
        models = [ReadModel(dsn, projector(), schema) for _ in range(4)]
        for model in models:
            stack.push_async_callback(model.close)
            await model.open(store.log_id)
        sql = await asyncpg.connect(dsn)
        stack.push_async_callback(sql.close)
        await sql.execute(LEVEL, models[0].schema)
        wanted, other = Cut("Sums v1", 3, 1, 5 * BILLION), Cut("Sums v1", 4, 0, 5 * BILLION)

        async with sql.transaction():
            await sql.execute(LOCK_ALL, models[0].schema)
            cuts = [model.cut(cut) for model, cut in zip(models, [wanted, wanted, wanted, other], strict=True)]
            answers = asyncio.ensure_future(outcomes(cuts))
            await eventually(lambda: are_waiting(dsn, 4))

        assert await answers == [True, True, True, False]
        assert await models[0].places() == {0: 1, 1: 1, 2: 1}
        assert not await models[0].cut(wanted._replace(partitions=2, fence=BILLION))


async def nobody_runs(app: Application) -> None:
    async def is_so() -> bool:
        return not any(slot.owner for slot in (await state_of(app)).slots)

    await eventually(is_so)


async def are_waiting(dsn: str, count: int) -> bool:
    """Say whether so many wait to cut the places beside the rows."""
    sql = await asyncpg.connect(dsn)
    try:
        waiting: int = await sql.fetchval(WAITING)
        return waiting >= count
    finally:
        await sql.close()


class Slow(Sums):
    """Waits in the middle of a batch, while the gate is shut."""

    gate: ClassVar[asyncio.Event] = asyncio.Event()

    async def project(self, event: Recorded[Moved], db: Connection) -> None:
        await super().project(event, db)
        await self.gate.wait()


BURY = "UPDATE {schema}.slots SET owner = gen_random_uuid() WHERE name = 'Sums v1'"


@pytest.mark.parametrize("stops", ["in its transaction", "before it says how far it has come"])
async def test_an_owner_that_is_taken_for_dead_in_a_batch_is_not_cut_around(
    dsn: str, schema: str, nodes: Callable[[], PostgresEventStore], stops: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "gate", asyncio.Event())
    earlier, later = in_slots(Slow, 1, 1), in_slots(Sums, 3, 2)
    store = nodes()
    async with running(store, earlier()) as one, stopped_at(store.subscriptions, "advance", monkeypatch) as stop:
        if stops == "before it says how far it has come":
            Slow.gate.set()
        result = await one.dispatch(PutIn("a", 1))
        if stops == "in its transaction":
            (model,) = models_of(one)
            await eventually(lambda: is_open(dsn, model.schema))
        else:
            await stop.here.wait()
        sql = await asyncpg.connect(dsn)
        try:
            async with running(nodes(), later()) as new:
                await is_held(new)
                await sql.execute(BURY.format(schema=schema))
                await store.subscriptions.nudge()
                if stops == "in its transaction":
                    await eventually(lambda: are_waiting(dsn, 1))
                    Slow.gate.set()
                else:
                    await are_cut(new, 3)
                stop.goes_on.set()

                await are_cut(new, 3)
                await all_is_summed_up(new, later)
                assert min((await models_of(new)[0].places()).values()) >= result.position
        finally:
            await sql.close()


async def is_open(dsn: str, schema: str) -> bool:
    """Say whether somebody has written to *schema* and not committed that."""
    sql = await asyncpg.connect(dsn)
    try:
        return bool(
            await sql.fetchval(
                "SELECT count(*) FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation"
                " WHERE c.relnamespace = $1::regnamespace AND l.mode = 'RowExclusiveLock'",
                f'"{schema}"',
            )
        )
    finally:
        await sql.close()
