"""An aggregate that breaks its contract is told so by name, and nothing of what it did is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, Self
from uuid import uuid4

import attrs
import pytest

from framework import Aggregate, Application, CommandRejected, MemoryEventStore, Router
from framework.errors import FrameworkError, InvalidDecision
from framework.store.protocol import NewEvent, StreamWrite
from tests.runtime.till import Moved, PutIn


@attrs.frozen
class Strange:
    """An event of nobody's contract."""


@attrs.frozen
class Sound(Aggregate[PutIn, Moved]):
    """Keeps its contract, for the others to break."""

    amount: int = 0

    def execute(self, command: PutIn) -> Iterator[Moved]:
        yield Moved(command.amount)

    def apply(self, event: Moved) -> Self:
        return attrs.evolve(self, amount=self.amount + event.amount)


@attrs.frozen
class Silent(Sound):
    def execute(self, command: PutIn) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return nothing at all."""


@attrs.frozen
class Later(Sound):
    def execute(self, command: PutIn) -> Coroutine[Any, Any, None]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.later()

    async def later(self) -> None:
        raise NotImplementedError


@attrs.frozen
class Foreign(Sound):
    def execute(self, command: PutIn) -> Iterator[Any]:
        yield Moved(command.amount)
        yield Strange()


@attrs.frozen
class Forgetful(Sound):
    def apply(self, event: Moved) -> Self:  # type: ignore[empty-body]  # pyright: ignore[reportReturnType]
        """Return nothing, where the state after the event belongs."""


@attrs.frozen
class Altered(Sound):
    def apply(self, event: Moved) -> Self:
        return Sound(event.amount)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def application(store: MemoryEventStore, aggregate: type[Aggregate[Any, Any]]) -> Application:
    router = Router()
    router.register(aggregate, identity="till", prefix="till-")
    return Application(store=store, router=router)


@pytest.mark.parametrize(
    ("aggregate", "reason"),
    [
        (Silent, "Silent.execute returned None instead of yielding events"),
        (Later, "Later.execute is async: it decides without waiting, so write 'def execute'"),
        (Foreign, "Foreign.execute yielded Strange(), which is no event of its contract"),
        (Forgetful, "Forgetful.apply returned None for Moved(amount=1), not the state after it"),
        (Altered, "Altered.apply returned Sound(amount=1) for Moved(amount=1), not the state after it"),
    ],
)
async def test_a_broken_contract_is_named_and_nothing_is_recorded(
    aggregate: type[Aggregate[Any, Any]], reason: str
) -> None:
    store = MemoryEventStore()
    async with application(store, aggregate) as app:
        with pytest.raises(InvalidDecision) as raised:
            await app.dispatch(PutIn("a", 1))

        assert str(raised.value) == reason
        assert issubclass(InvalidDecision, FrameworkError)
        assert await store.head() == 0


async def test_an_apply_that_fails_on_what_is_recorded_is_named_too() -> None:
    store = MemoryEventStore()
    events = [NewEvent(uuid4(), "Moved", 1, b'{"amount":1}', b"{}", uuid4(), uuid4()) for _ in range(2)]
    await store.append([StreamWrite("till-a", 0, events)])

    async with application(store, Forgetful) as app:
        with pytest.raises(InvalidDecision, match=r"Forgetful\.apply returned None"):
            await app.state(Forgetful, "a")
        with pytest.raises(InvalidDecision, match=r"Forgetful\.apply returned None"):
            await app.dispatch(PutIn("a", 1))

        assert await store.head() == 2


@attrs.frozen
class Brittle(Sound):
    """Breaks in many ways, each at an amount of its own, and not where Python expects a generator to."""

    def execute(self, command: PutIn) -> Iterator[Moved]:
        if command.amount == 1:
            raise LookupError
        if command.amount == 2:
            next(iter(()))
        return iter([Moved(10), Moved(command.amount)])

    def apply(self, event: Moved) -> Self:
        if event.amount == 3:
            raise LookupError
        if event.amount == 4:
            next(iter(()))
        return super().apply(event)


@pytest.mark.parametrize(
    ("amount", "error"), [(1, LookupError), (2, RuntimeError), (3, LookupError), (4, RuntimeError)]
)
async def test_what_breaks_inside_a_decision_fails_its_own_command_and_leaves_the_aggregate_sound(
    amount: int, error: type[Exception]
) -> None:
    async with application(MemoryEventStore(), Brittle) as app:
        await app.dispatch(PutIn("a", 7))
        before, broken, behind = await asyncio.gather(
            *[app.dispatch(PutIn("a", each)) for each in (8, amount, 9)], return_exceptions=True
        )

        assert type(broken) is error
        assert [getattr(each, "version", each) for each in (before, behind)] == [4, 6]
        assert (await app.dispatch(PutIn("a", 5), returning=Brittle)).state == await app.state(Brittle, "a")
        assert await app.state(Brittle, "a") == Brittle(4 * 10 + 7 + 8 + 9 + 5)


async def test_an_apply_that_fails_on_what_is_recorded_serves_again_when_it_is_mended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryEventStore()
    async with application(store, Sound) as app:
        for amount in (1, 3):
            await app.dispatch(PutIn("a", amount))

    async with application(store, Brittle) as app:
        for _ in range(2):
            with pytest.raises(LookupError):
                await app.dispatch(PutIn("a", 5))

        monkeypatch.setattr(Brittle, "apply", Sound.apply)
        assert (await app.dispatch(PutIn("a", 5))).version == 4
        assert await app.state(Brittle, "a") == Brittle(1 + 3 + 10 + 5)


class TooFull(CommandRejected):
    """The next one would be too much."""


@attrs.frozen
class Poured(Sound):
    """Takes an amount in pieces of at most ten, each on what the one before it left, and holds thirty."""

    def execute(self, command: PutIn) -> Iterator[Moved]:
        poured, left = self, command.amount
        while left:
            moved = Moved(min(left, 10))
            yield moved
            poured = poured.apply(moved)
            if poured.amount > 30:
                raise TooFull
            left -= moved.amount


async def test_many_events_of_one_command_each_see_the_one_before_and_are_recorded_all_or_none() -> None:
    store = MemoryEventStore()
    async with application(store, Poured) as app:
        first = await app.dispatch(PutIn("a", 25), returning=Poured)
        with pytest.raises(TooFull):
            await app.dispatch(PutIn("a", 15))
        second = await app.dispatch(PutIn("a", 5))

        assert (first.version, first.events, first.state) == (3, (Moved(10), Moved(10), Moved(5)), Poured(25))
        assert (second.version, second.events) == (4, (Moved(5),))
        assert await store.head() == 4
