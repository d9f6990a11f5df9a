"""How long aggregates stay in memory, and that nobody meets one that is about to leave it."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from weakref import ref

import attrs
import pytest
from structlog.testing import capture_logs

from framework import Application, Lifespan, MemoryEventStore, Router
from framework.errors import ConfigurationError
from framework.policies import Defaults
from framework.runtime.actor import Actor
from framework.store.protocol import Appended, Receipt, StoredEvent, StreamWrite
from framework.testing import eventually
from tests.runtime.till import GatedStore, Moved, NotEnough, PutIn, Shake, TakeOut, Till, application

AT_ONCE = timedelta(0)
NEVER = timedelta.max
STOPS_AFTER_EACH = Defaults(lifespan=Lifespan(idle_after=AT_ONCE))
DISPATCHES = 1_000
LONGER_THAN_A_LIFE = 40
"""Steps of the loop: in fewer an actor is started, loads, decides, appends, answers and ends."""


class PausingStore(MemoryEventStore):
    """A memory store that lets everybody else run for some steps before and after it does anything."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    async def read_stream(
        self, stream: str, *, after: int = 0, until: int | None = None, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        await self._pause()
        read = await super().read_stream(stream, after=after, until=until, limit=limit)
        await self._pause()
        return read

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        await self._pause()
        appended = await super().append(writes, receipts)
        await self._pause()
        return appended

    async def _pause(self) -> None:
        for _ in range(self._steps):
            await asyncio.sleep(0)


@attrs.define
class Lives:
    """How many actors there have been, and how many of one stream at once."""

    begun: int = 0
    at_once: Counter[str] = attrs.field(factory=Counter[str])
    most_at_once: int = 0


@pytest.fixture
def lives(monkeypatch: pytest.MonkeyPatch) -> Lives:
    """What becomes of every actor of the test."""
    counted, run = Lives(), Actor.run

    async def counting(self: Actor) -> None:
        counted.begun += 1
        counted.at_once[self.stream] += 1
        counted.most_at_once = max(counted.most_at_once, counted.at_once[self.stream])
        try:
            await run(self)
        finally:
            counted.at_once[self.stream] -= 1

    monkeypatch.setattr(Actor, "run", counting)
    return counted


def live(app: Application) -> set[str]:
    """Return the streams whose aggregates are in memory."""
    actors: Any = vars(app)["_engine"]._actors
    return {*actors._live, *actors._leaving}


def living(lifespan: Lifespan) -> Application:
    router = Router()
    router.register(Till, identity="till", prefix="till-", lifespan=lifespan)
    return Application(store=MemoryEventStore(), router=router)


async def gone(app: Application) -> None:
    """Let those end that do so at once."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not live(app)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_no_dispatch_meets_an_actor_that_is_stopping_at_whatever_step_it_comes(steps: int, lives: Lives) -> None:
    dispatches: list[asyncio.Future[Any]] = []
    async with application(PausingStore(steps), STOPS_AFTER_EACH) as app:
        for number in range(DISPATCHES):
            for _ in range(number % LONGER_THAN_A_LIFE):
                await asyncio.sleep(0)
            dispatches.append(asyncio.ensure_future(app.dispatch(PutIn("a", 1))))
        results = await asyncio.gather(*dispatches)
        await gone(app)

    assert [result.version for result in results] == list(range(1, DISPATCHES + 1))
    assert lives.most_at_once == 1
    assert DISPATCHES / LONGER_THAN_A_LIFE < lives.begun < DISPATCHES, "some ended before the next, and some did not"


@pytest.mark.timeout(60)
async def test_no_actor_stops_while_somebody_waits_for_room_in_its_mailbox(lives: Lives) -> None:
    # A store that answers at once leaves them no step in which to come in before the actor looks.
    async with application(MemoryEventStore(), attrs.evolve(STOPS_AFTER_EACH, mailbox_limit=1)) as app:
        results = await asyncio.gather(*[app.dispatch(PutIn("a", 1)) for _ in range(DISPATCHES)])

    assert sorted(result.version for result in results) == list(range(1, DISPATCHES + 1))
    assert lives.most_at_once == lives.begun == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (PutIn("a", 5), Moved(5)),
        (PutIn("a", 0), PutIn("a", 0)),
        (TakeOut("a", 9), NotEnough),
        (Shake("a"), RuntimeError),
    ],
)
async def test_an_event_a_command_without_any_or_an_error_says_how_long_to_stay(asked: object, message: object) -> None:
    seen: list[object] = []

    def after(each: object) -> timedelta:
        seen.append(type(each) if isinstance(each, Exception) else each)
        return AT_ONCE if seen[-1] == message else NEVER

    async with living(Lifespan(after=after)) as app:
        await app.dispatch(PutIn("a", 7))
        await asyncio.gather(app.dispatch(asked), return_exceptions=True)
        await gone(app)

    assert seen == [Moved(7), message]


async def test_where_the_message_says_nothing_the_idle_time_holds() -> None:
    async with living(Lifespan(idle_after=AT_ONCE, after=lambda _: None)) as app:
        await app.dispatch(PutIn("a", 7))
        await gone(app)


async def test_an_aggregate_leaves_when_it_has_been_idle_for_so_long_and_comes_back_as_it_was() -> None:
    async with living(Lifespan(idle_after=timedelta(milliseconds=5))) as app:
        await app.dispatch(PutIn("a", 7))
        assert live(app) == {"till-a"}

        await eventually(lambda: not live(app))
        assert (await app.dispatch(TakeOut("a", 7))).version == 2


async def test_a_shorter_time_to_stay_counts_from_the_message_that_says_so_and_a_longer_one_too() -> None:
    def after(message: object) -> timedelta:
        if message == Moved(1):
            return timedelta(hours=1)
        return timedelta(milliseconds=5) if message == Moved(2) else NEVER

    async with living(Lifespan(after=after)) as app:
        for amount in (2, 3):
            await app.dispatch(PutIn("longer", amount))
        for amount in (1, 2):
            await app.dispatch(PutIn("shorter", amount))

        await eventually(lambda: "till-shorter" not in live(app))
        assert live(app) == {"till-longer"}, "its alarm was set first, and has rung"


async def test_a_command_may_have_a_lifespan_of_its_own() -> None:
    router = Router()
    router.register(Till, identity="till", prefix="till-", lifespan=Lifespan(idle_after=NEVER))
    router.register_command(TakeOut, Till, lifespan=Lifespan(idle_after=AT_ONCE))
    async with Application(store=MemoryEventStore(), router=router, defaults=STOPS_AFTER_EACH) as app:
        await app.dispatch(PutIn("a", 7))
        for _ in range(LONGER_THAN_A_LIFE):
            await asyncio.sleep(0)
        assert live(app) == {"till-a"}

        await app.dispatch(TakeOut("a", 1))
        await gone(app)


async def test_commands_decided_together_say_how_long_to_stay_as_well() -> None:
    async with living(Lifespan(idle_after=AT_ONCE)) as app:
        await app.dispatch_together([PutIn("a", 1), PutIn("b", 1)])
        await gone(app)


async def test_an_aggregate_at_rest_does_not_hold_on_to_what_it_was_asked() -> None:
    async with application(MemoryEventStore()) as app:
        command = PutIn("a", 1)
        held = ref(command)

        await app.dispatch(command)
        del command
        gc.collect()

        assert held() is None
        assert live(app) == {"till-a"}


def failing(_: object) -> timedelta:
    message = "no idea"
    raise LookupError(message)


def vague(_: object) -> str:
    return "a while"


@pytest.mark.parametrize("after", [failing, vague])
async def test_a_lifespan_that_fails_is_logged_and_has_no_part_in_the_answer(after: Callable[[object], Any]) -> None:
    async with living(Lifespan(idle_after=AT_ONCE, after=after)) as app:
        with capture_logs() as logs:
            assert (await app.dispatch(PutIn("a", 7))).version == 1
            await gone(app)

    assert [(line["event"], line["stream"]) for line in logs if line["log_level"] == "error"] == [
        ("lifespan_failed", "till-a")
    ]


def test_a_time_below_nothing_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="give 0 to stop at once"):
        Lifespan(idle_after=timedelta(seconds=-1))


async def test_the_least_recently_used_leaves_for_a_new_one() -> None:
    async with application(MemoryEventStore(), Defaults(live_at_most=3)) as app:
        for till in "abcad":
            await app.dispatch(PutIn(till, 1))
            await asyncio.sleep(0)

        assert live(app) == {"till-c", "till-a", "till-d"}


async def test_those_with_commands_in_hand_are_not_sent_away_and_none_too_many_stays_after_them() -> None:
    store = GatedStore()
    async with application(store, Defaults(live_at_most=2)) as app:
        store.gate.clear()
        dispatches = [asyncio.ensure_future(app.dispatch(PutIn(till, 1))) for till in "abcdef"]
        for _ in dispatches:
            await store.arrived.acquire()
        assert len(live(app)) == 6

        store.gate.set()
        await asyncio.gather(*dispatches)
        await asyncio.sleep(0)

        assert live(app) == {"till-e", "till-f"}


async def test_one_that_is_leaving_and_is_asked_again_stays() -> None:
    store = GatedStore()
    async with application(store, Defaults(live_at_most=1)) as app:
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        second = asyncio.ensure_future(app.dispatch(PutIn("b", 1)))
        await store.arrived.acquire()
        third = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await asyncio.sleep(0)

        store.gate.set()
        await asyncio.gather(first, second, third)
        await asyncio.sleep(0)

        assert live(app) == {"till-a"}
