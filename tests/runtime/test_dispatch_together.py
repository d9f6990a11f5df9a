"""Commands to several aggregates as one: all of them or none, whoever else writes, whatever is cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import attrs
import pytest

from framework import (
    Application,
    CommandContext,
    CommandRejected,
    Consistency,
    DispatchResult,
    EventHandler,
    MemoryEventStore,
    Next,
    PostgresEventStore,
    Recorded,
    Router,
)
from framework.errors import (
    CommandIdReused,
    DispatchTimeout,
    NoAnswer,
    OutcomeUnknown,
    StorageUnavailable,
    TooManyAttempts,
    UnknownCommand,
)
from framework.policies import Defaults
from framework.store.protocol import Appended, EventStore, Receipt, StreamWrite
from tests.runtime.till import GatedStore, Moved, NotEnough, PutIn, Shake, TakeOut, Till, application, tills

MOVE = (TakeOut("a", 4), PutIn("b", 4))


class InterruptedStore(MemoryEventStore):
    """Lets something happen just before an append that writes to several streams."""

    def __init__(self, before: Callable[[], Awaitable[object]] | None = None) -> None:
        super().__init__()
        self.before = before
        self.appends = 0

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        if len(writes) > 1:
            self.appends += 1
            if (before := self.before) is not None:
                self.before = None
                await before()
        return await super().append(writes, receipts)


async def contents(app: Application, *names: str) -> list[int]:
    return [(await app.state(Till, name)).content for name in names]


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        yield PostgresEventStore(dsn, schema=f"together_{uuid4().hex[:12]}")


# All of them ---------------------------------------------------------------------------------------


async def test_all_is_recorded_side_by_side_and_each_command_has_its_own_result(store: EventStore) -> None:
    async with Application(store=store, router=tills()) as app:
        await app.dispatch(PutIn("a", 10))
        await app.dispatch(PutIn("b", 1))

        took, put = await app.dispatch_together(MOVE, metadata={"by": "me"})

        assert (took.stream, took.version, took.position, took.events) == ("till-a", 2, 3, (Moved(-4),))
        assert (put.stream, put.version, put.position, put.events) == ("till-b", 2, 4, (Moved(4),))
        assert took.correlation_id == put.correlation_id
        assert took.command_id != put.command_id
        page = await store.read_log(after=2)
        assert [stored.causation_id for stored in page.events] == [took.command_id, put.command_id]
        assert len({stored.recorded_at for stored in page.events}) == 1
        assert [json.loads(stored.metadata) for stored in page.events] == [{"by": "me"}] * 2


async def test_several_for_one_aggregate_are_decided_one_on_the_other(store: EventStore) -> None:
    async with Application(store=store, router=tills()) as app:
        results = await app.dispatch_together([PutIn("a", 5), PutIn("b", 1), TakeOut("a", 5), PutIn("a", 0)])

        assert [(result.stream, result.version) for result in results] == [
            ("till-a", 1),
            ("till-b", 1),
            ("till-a", 2),
            ("till-a", 2),
        ]
        assert await contents(app, "a", "b") == [0, 1]
        assert [result.position for result in results] == [1, 3, 2, 2]


async def test_live_aggregates_know_what_was_done_and_go_on_from_there() -> None:
    store = InterruptedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        await app.dispatch(PutIn("b", 0))
        await app.dispatch_together(MOVE)

        with pytest.raises(NotEnough, match="7 exceeds 6"):
            await app.dispatch(TakeOut("a", 7), retry=0)
        assert (await app.dispatch(TakeOut("b", 4), retry=0)).version == 2


async def test_nothing_to_do_is_an_answer_too(store: EventStore) -> None:
    async with Application(store=store, router=tills()) as app:
        await app.dispatch(PutIn("a", 1))

        a, b = await app.dispatch_together([PutIn("a", 0), PutIn("b", 0)], command_id=uuid4())

        assert (a.version, a.position, a.events) == (1, 1, ())
        assert (b.version, b.position, b.events) == (0, 0, ())
        assert await app.dispatch_together([]) == ()


async def test_strong_consistency_waits_once_for_all() -> None:
    seen: list[int] = []

    class Seen(EventHandler[Moved]):
        async def handle(self, event: Recorded[Moved]) -> None:
            seen.append(event.data.amount)

    async with Application(store=MemoryEventStore(), router=tills(), handlers=[Seen()]) as app:
        results = await app.dispatch_together([PutIn("a", 1), PutIn("b", 2)], consistency=Consistency.STRONG)

        assert seen == [1, 2]
        assert [result.waited for result in results] == [{"Seen": "handled"}] * 2


# Or none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commands", "error"),
    [
        ([PutIn("b", 1), TakeOut("a", 100)], NotEnough),
        ([TakeOut("a", 100), PutIn("b", 1)], NotEnough),
        ([PutIn("b", 1), Shake("a")], RuntimeError),
        ([PutIn("b", 1), object()], UnknownCommand),
    ],
)
async def test_one_that_is_refused_or_fails_refuses_all(
    store: EventStore, commands: Sequence[object], error: type[Exception]
) -> None:
    async with Application(store=store, router=tills()) as app:
        await app.dispatch(PutIn("a", 10))

        with pytest.raises(error):
            await app.dispatch_together(commands)

        assert await store.head() == 1
        assert (await app.dispatch(PutIn("b", 1))).version == 1


async def test_of_several_refusals_the_first_in_the_order_given_is_told() -> None:
    async with application(MemoryEventStore()) as app:
        with pytest.raises(NotEnough, match="2 exceeds 0"):
            await app.dispatch_together([PutIn("c", 1), TakeOut("b", 2), TakeOut("a", 3)])


# Other writers -------------------------------------------------------------------------------------


async def test_all_is_decided_again_when_another_node_was_first_at_one_of_the_streams() -> None:
    store = InterruptedStore()
    async with application(store) as one, application(store) as other:
        await one.dispatch(PutIn("a", 10))
        store.before = lambda: other.dispatch(PutIn("b", 100))

        _, put = await one.dispatch_together(MOVE)

        assert put.version == 2
        assert store.appends == 2
        assert await contents(one, "a", "b") == [6, 104]


async def test_what_another_node_took_in_the_meantime_cannot_be_taken_again() -> None:
    store = InterruptedStore()
    async with application(store) as one, application(store) as other:
        await one.dispatch(PutIn("a", 10))
        store.before = lambda: other.dispatch(TakeOut("a", 7))

        with pytest.raises(NotEnough, match="4 exceeds 3"):
            await one.dispatch_together(MOVE)

        assert await contents(one, "a", "b") == [3, 0]


async def test_what_changed_nothing_is_looked_at_in_the_same_moment_as_what_did() -> None:
    def level(till: Till, command: PutIn) -> Sequence[Moved]:
        return [Moved(command.amount - till.content)] if till.content != command.amount else []

    router = tills()
    router.register_command(PutIn, Till, handler=level)
    store = InterruptedStore()
    async with Application(store=store, router=router) as one, application(store) as other:
        await one.dispatch(PutIn("a", 10))
        await one.dispatch(PutIn("b", 4))
        store.before = lambda: other.dispatch(PutIn("b", 50))

        _, put = await one.dispatch_together(MOVE)

        assert put.events == (Moved(-50),)
        assert await contents(one, "a", "b") == [6, 4]


async def test_a_refusal_does_not_rest_on_a_state_that_another_node_has_changed() -> None:
    store = MemoryEventStore()
    async with application(store) as one, application(store) as other:
        await one.dispatch(PutIn("a", 1))
        await other.dispatch(PutIn("a", 10))

        took, _ = await one.dispatch_together(MOVE)

        assert took.version == 3


async def test_who_always_loses_gives_up_and_has_recorded_nothing() -> None:
    class Losing(MemoryEventStore):
        appends = 0

        async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
            if len(writes) > 1:
                self.appends += 1
                await super().append([attrs.evolve(writes[-1], events=[])], ())
                await other.dispatch(PutIn("b", 1))
            return await super().append(writes, receipts)

    store = Losing()
    async with application(store) as one, application(store) as other:
        await one.dispatch(PutIn("a", 10))

        with pytest.raises(TooManyAttempts, match="till-a, till-b: other writers won 3 times"):
            await one.dispatch_together(MOVE, retry=2)

        assert store.appends == 3
        assert await contents(one, "a", "b") == [10, 3]


async def test_a_live_actor_in_the_middle_of_an_append_is_waited_for() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 1))
        store.gate.clear()
        deposit = asyncio.ensure_future(app.dispatch(PutIn("a", 5)))
        await store.arrived.acquire()
        await store.arrived.acquire()
        together = asyncio.ensure_future(app.dispatch_together(MOVE, retry=0))
        behind = asyncio.ensure_future(app.dispatch(TakeOut("a", 2), retry=0))
        await asyncio.sleep(0)
        store.gate.set()

        await deposit
        await together
        await behind

        assert await contents(app, "a", "b") == [0, 4]


async def test_commands_to_a_held_aggregate_wait_and_can_be_withdrawn() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        store.gate.clear()
        together = asyncio.ensure_future(app.dispatch_together(MOVE))
        await store.arrived.acquire()
        await store.arrived.acquire()

        with pytest.raises(DispatchTimeout):
            await app.dispatch(PutIn("a", 100), timeout=timedelta(milliseconds=1))

        store.gate.set()
        await together
        assert await contents(app, "a", "b") == [6, 4]


async def test_those_who_want_the_same_aggregates_in_another_order_do_not_wait_for_each_other() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch_together([PutIn("a", 100), PutIn("b", 100)])
        store.gate.clear()
        in_flight = [asyncio.ensure_future(app.dispatch(PutIn(name, 1))) for name in "ab"]
        for _ in range(3):
            await store.arrived.acquire()
        # Each now waits for the first aggregate it wants, while that one's own round is on its way.
        there = asyncio.ensure_future(app.dispatch_together([TakeOut("a", 1), PutIn("b", 1)], retry=0))
        back = asyncio.ensure_future(app.dispatch_together([TakeOut("b", 10), PutIn("a", 10)], retry=0))
        await asyncio.sleep(0)

        store.gate.set()
        await asyncio.gather(*in_flight)
        await asyncio.gather(there, back)

        assert await contents(app, "a", "b") == [110, 92]


async def test_many_who_move_between_the_same_aggregates_lose_nothing() -> None:
    async with application(MemoryEventStore()) as app:
        await app.dispatch_together([PutIn(name, 100) for name in "abc"])
        pairs = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "a"), ("a", "c"), ("c", "b")] * 20

        await asyncio.gather(
            *(app.dispatch_together([TakeOut(one, 1), PutIn(other, 1)], retry=0) for one, other in pairs),
            *(app.dispatch(PutIn(name, 1), retry=0) for name in "abc" * 20),
        )

        assert await contents(app, "a", "b", "c") == [120, 120, 120]


async def test_two_nodes_that_move_between_the_same_aggregates_lose_nothing(store: EventStore) -> None:
    defaults = Defaults(conflict_retries=200, dispatch_timeout=timedelta(seconds=60))
    async with Application(store=store, router=tills(), defaults=defaults) as one:
        second = store if isinstance(store, MemoryEventStore) else _same(store)
        async with Application(store=second, router=tills(), defaults=defaults) as other:
            await one.dispatch_together([PutIn("a", 100), PutIn("b", 100)])

            await asyncio.gather(
                *(app.dispatch_together([TakeOut("a", 1), PutIn("b", 1)]) for app in (one, other) for _ in range(10)),
                *(app.dispatch_together([TakeOut("b", 2), PutIn("a", 2)]) for app in (one, other) for _ in range(10)),
                *(app.dispatch(PutIn("a", 1)) for app in (one, other) for _ in range(10)),
            )

            assert await contents(one, "a", "b") == [140, 80]


def _same(store: EventStore) -> PostgresEventStore:
    assert store.read_database is not None
    return PostgresEventStore(store.read_database, schema=store.namespace)


async def test_an_aggregate_that_is_held_is_not_retired() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        store.gate.clear()
        together = asyncio.ensure_future(app.dispatch_together(MOVE))
        await store.arrived.acquire()
        await store.arrived.acquire()
        engine: Any = vars(app)["_engine"]
        actors: dict[str, Any] = dict(engine._actors._live)
        for actor in actors.values():
            actor.retire()
        await asyncio.sleep(0)

        assert set(actors) == {"till-a", "till-b"}
        assert engine._actors._live == actors

        store.gate.set()
        await together
        assert (await app.dispatch(TakeOut("b", 4))).version == 2


async def test_what_was_accepted_is_finished_when_the_application_closes() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        store.gate.clear()
        together = asyncio.ensure_future(app.dispatch_together(MOVE))
        await store.arrived.acquire()
        await store.arrived.acquire()
        asyncio.get_running_loop().call_soon(store.gate.set)

    assert [result.version for result in await together] == [2, 1]


# Cancellation and time -----------------------------------------------------------------------------


async def test_cancelled_while_it_waits_for_its_turn_it_leaves_nothing_behind() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        store.gate.clear()
        deposit = asyncio.ensure_future(app.dispatch(PutIn("b", 1)))
        await store.arrived.acquire()
        await store.arrived.acquire()
        together = asyncio.ensure_future(app.dispatch_together(MOVE))
        await asyncio.sleep(0)

        together.cancel()
        with pytest.raises(asyncio.CancelledError):
            await together
        store.gate.set()
        await deposit

        assert (await app.dispatch(TakeOut("a", 1))).version == 2
        assert await contents(app, "a", "b") == [9, 1]


async def test_cancelled_while_the_append_is_on_its_way_it_leaves_live_aggregates_sound() -> None:
    class Answering(GatedStore):
        """Records, and only then waits: an answer that comes too late."""

        async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
            appended = await MemoryEventStore.append(self, writes, receipts)
            self.arrived.release()
            await self.gate.wait()
            return appended

    store = Answering()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        store.gate.clear()
        together = asyncio.ensure_future(app.dispatch_together(MOVE))
        await store.arrived.acquire()
        await store.arrived.acquire()

        together.cancel()
        with pytest.raises(asyncio.CancelledError):
            await together
        store.gate.set()

        with pytest.raises(NotEnough, match="7 exceeds 6"):
            await app.dispatch(TakeOut("a", 7))
        assert (await app.dispatch(TakeOut("b", 4))).version == 2


async def test_time_that_runs_out_before_its_turn_withdraws_it() -> None:
    store = GatedStore()
    async with application(store) as app:
        store.gate.clear()
        deposit = asyncio.ensure_future(app.dispatch(PutIn("b", 1)))
        await store.arrived.acquire()

        with pytest.raises(DispatchTimeout, match="till-a, till-b: not decided within"):
            await app.dispatch_together(MOVE, timeout=timedelta(milliseconds=1))

        store.gate.set()
        await deposit
    assert await store.head() == 1


async def test_time_that_runs_out_after_the_append_was_sent_says_that_the_outcome_is_unknown() -> None:
    store = GatedStore()
    command_id = uuid4()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        store.gate.clear()

        with pytest.raises(OutcomeUnknown, match=f"command_id={command_id}"):
            await app.dispatch_together(MOVE, timeout=timedelta(milliseconds=1), command_id=command_id)

        store.gate.set()
        took, put = await app.dispatch_together(MOVE, command_id=command_id)
        assert (took.version, put.version) == (2, 1)


async def test_a_store_that_cannot_be_reached_is_told_and_the_next_finds_all_sound() -> None:
    class Away(MemoryEventStore):
        is_away = False

        async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
            if self.is_away:
                raise StorageUnavailable("away")
            return await super().append(writes, receipts)

    store = Away()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        store.is_away = True
        with pytest.raises(StorageUnavailable):
            await app.dispatch_together(MOVE)
        store.is_away = False

        await app.dispatch_together(MOVE)

        assert await contents(app, "a", "b") == [6, 4]


# Repeats -------------------------------------------------------------------------------------------


async def test_a_repeat_is_answered_as_the_first_was_on_another_node_too(store: EventStore) -> None:
    command_id = uuid4()
    async with Application(store=store, router=tills()) as app:
        await app.dispatch(PutIn("a", 10))
        first = await app.dispatch_together(MOVE, command_id=command_id)
        await app.dispatch(TakeOut("a", 6))
        again = await app.dispatch_together(MOVE, command_id=command_id)
    async with Application(store=store, router=tills()) as other:
        elsewhere = await other.dispatch_together(MOVE, command_id=command_id)
        assert await contents(other, "a", "b") == [0, 4]

    for results in (again, elsewhere):
        assert [(r.version, r.position, r.events) for r in results] == [
            (r.version, r.position, r.events) for r in first
        ]


async def test_a_repeat_of_a_refusal_is_refused_though_it_would_be_accepted_now(store: EventStore) -> None:
    command_id = uuid4()
    async with Application(store=store, router=tills()) as app:
        with pytest.raises(NotEnough, match="4 exceeds 0"):
            await app.dispatch_together(MOVE, command_id=command_id)
        await app.dispatch(PutIn("a", 10))

        with pytest.raises(NotEnough, match="4 exceeds 0"):
            await app.dispatch_together(MOVE, command_id=command_id)
        assert await contents(app, "a", "b") == [10, 0]


async def test_a_repeat_of_what_was_accepted_is_accepted_though_it_would_fail_now() -> None:
    is_broken = False

    def sometimes(till: Till, command: TakeOut) -> Sequence[Moved]:
        if is_broken:
            raise RuntimeError("broken by now")
        return [Moved(-min(command.amount, till.content))]

    router = tills()
    router.register_command(TakeOut, Till, handler=sometimes)
    command_id = uuid4()
    async with Application(store=MemoryEventStore(), router=router) as app:
        first = await app.dispatch_together(MOVE, command_id=command_id)
        is_broken = True

        assert await app.dispatch_together(MOVE, command_id=command_id) == first


@pytest.mark.parametrize(
    "other", [[TakeOut("a", 4)], [TakeOut("a", 4), PutIn("b", 5)], [PutIn("b", 4), TakeOut("a", 4)], [*MOVE, MOVE[1]]]
)
async def test_other_commands_under_the_same_id_are_refused(other: Sequence[object]) -> None:
    command_id = uuid4()
    async with application(MemoryEventStore()) as app:
        await app.dispatch(PutIn("a", 10))
        await app.dispatch_together(MOVE, command_id=command_id)

        with pytest.raises(CommandIdReused):
            await app.dispatch_together(other, command_id=command_id)
        with pytest.raises(CommandIdReused):
            await app.dispatch(MOVE[0], command_id=command_id)
        assert await contents(app, "a", "b") == [6, 4]


async def test_one_id_from_two_nodes_at_once_takes_effect_once(store: EventStore) -> None:
    command_id = uuid4()
    async with Application(store=store, router=tills()) as one:
        second = store if isinstance(store, MemoryEventStore) else _same(store)
        async with Application(store=second, router=tills()) as other:
            await one.dispatch(PutIn("a", 10))

            answers = await asyncio.gather(
                *(app.dispatch_together(MOVE, command_id=command_id) for app in (one, other) * 5)
            )

            assert len({tuple((r.version, r.position) for r in answer) for answer in answers}) == 1
            assert await contents(one, "a", "b") == [6, 4]


# Middleware ----------------------------------------------------------------------------------------


class Forbidden(CommandRejected):
    """Not for you."""


def with_layer(layer: Any, store: MemoryEventStore) -> Application:
    return Application(store=store, router=tills(), middleware=[layer])


async def test_every_command_goes_through_all_layers() -> None:
    seen: list[str] = []

    async def note(context: CommandContext, call_next: Next) -> DispatchResult:
        result = await call_next(attrs.evolve(context, metadata={"number": len(seen)}))
        seen.append(result.stream)
        return result

    store = MemoryEventStore()
    async with with_layer(note, store) as app:
        await app.dispatch_together([PutIn("a", 1), PutIn("b", 2)])

    assert seen == ["till-b", "till-a"]


async def test_what_a_layer_refuses_of_one_is_refused_of_all() -> None:
    async def forbid(context: CommandContext, call_next: Next) -> DispatchResult:
        if context.command == PutIn("b", 4):
            raise Forbidden
        return await call_next(context)

    store = MemoryEventStore()
    async with with_layer(forbid, store) as app:
        await app.dispatch(PutIn("a", 10))
        with pytest.raises(Forbidden):
            await app.dispatch_together(MOVE)

    assert await store.head() == 1


async def test_a_layer_cannot_answer_for_one_of_several() -> None:
    async def answer(context: CommandContext, call_next: Next) -> DispatchResult:
        if context.command == PutIn("b", 4):
            return DispatchResult("elsewhere", 1, 1)
        return await call_next(context)

    store = MemoryEventStore()
    async with with_layer(answer, store) as app:
        await app.dispatch(PutIn("a", 10))
        with pytest.raises(NoAnswer, match="around one of several commands"):
            await app.dispatch_together(MOVE)

    assert await store.head() == 1


async def test_the_longest_time_and_the_most_retries_of_the_registrations_hold_for_all() -> None:
    router = Router()
    router.register(Till, identity="till", prefix="till-", timeout=timedelta(milliseconds=1), retry=0)
    router.register_command(PutIn, Till, timeout=timedelta(seconds=30), retry=2)
    store = InterruptedStore()
    async with Application(store=store, router=router) as one, application(store) as other:
        await one.dispatch(PutIn("a", 10))

        async def slowly() -> None:
            await other.dispatch(PutIn("b", 1))
            await asyncio.sleep(0.01)

        store.before = slowly

        await one.dispatch_together(MOVE)

        assert await contents(one, "a", "b") == [6, 5]
