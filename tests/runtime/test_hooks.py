"""A handler is started before its first event and stopped after its last, and dispatches in between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from framework import Application, EventHandler, MemoryEventStore, Recorded
from framework.handler import Dispatch
from framework.testing import WatchedApplication
from tests.runtime.till import Moved, PutIn, tills


class Noting(EventHandler[Moved]):
    """Notes what happens to it, and fails where it is told to."""

    def __init__(self, fails_at: str = "") -> None:
        self.notes: list[str] = []
        self.fails_at = fails_at

    async def on_start(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch
        self.note("started")

    async def on_stop(self) -> None:
        self.note("stopped")

    async def handle(self, event: Recorded[Moved]) -> None:
        self.note(event.stream)
        if event.stream == "till-a":
            await self.dispatch(PutIn("b", event.data.amount))

    def note(self, what: str) -> None:
        self.notes.append(what)
        if what == self.fails_at:
            raise OSError(what)


class Other(Noting):
    """Another one."""


class AtOnce(EventHandler[Moved]):
    """Dispatches while it has a batch in hand."""

    batch_size = 3

    async def on_start(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch

    async def handle_batch(self, events: Sequence[Recorded[Moved]]) -> int | None:
        if events[-1].stream == "till-a":
            await self.dispatch(PutIn("b", 1))
        return None


def shop(store: MemoryEventStore, *handlers: EventHandler[Moved]) -> WatchedApplication:
    return WatchedApplication(store=store, router=tills(), handlers=handlers)


async def test_a_handler_starts_before_its_first_event_and_stops_after_its_last() -> None:
    store, handler = MemoryEventStore(), Noting()
    async with Application(store=store, router=tills()) as app:
        await app.dispatch(PutIn("a", 1))

    async with shop(store, handler) as app:
        await app.settled()

    assert handler.notes == ["started", "till-a", "till-b", "stopped"]


async def test_what_a_handler_dispatches_is_caused_by_the_event_in_hand() -> None:
    async with shop(MemoryEventStore(), Noting()) as app:
        await app.dispatch(PutIn("a", 1))
        await app.settled()
        cause, effect = await app.recorded()

    assert effect.stream == "till-b"
    assert effect.correlation_id == cause.correlation_id
    assert effect.metadata == {"$caused_by": str(cause.event_id)}


async def test_what_is_dispatched_with_a_batch_in_hand_is_caused_by_its_last_event() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=tills()) as app:
        for _ in range(3):
            await app.dispatch(PutIn("a", 1))

    async with shop(store, AtOnce()) as app:
        await app.settled()
        *_, last, effect = await app.recorded()

    assert effect.metadata == {"$caused_by": str(last.event_id)}


async def test_one_that_cannot_start_keeps_the_application_from_opening_and_others_are_stopped() -> None:
    first, second = Noting(), Other(fails_at="started")

    with pytest.raises(OSError, match="started"):
        await shop(MemoryEventStore(), first, second).__aenter__()

    assert first.notes == ["started", "stopped"]
    assert second.notes == ["started"]


async def test_one_that_cannot_stop_is_told_of_and_the_others_are_stopped() -> None:
    first, second = Noting(), Other(fails_at="stopped")

    with pytest.raises(OSError, match="stopped"):
        async with shop(MemoryEventStore(), first, second):
            pass

    assert first.notes == ["started", "stopped"]
