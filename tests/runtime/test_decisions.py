"""An aggregate that breaks its contract is told so by name, and nothing of what it did is recorded."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, Self
from uuid import uuid4

import attrs
import pytest

from framework import Aggregate, Application, MemoryEventStore, Router
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
