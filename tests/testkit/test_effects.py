"""What follows from events: the commands of a handler, the rows of a projector, however the events come."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from framework import Connection, EventHandler, Projector, Recorded
from framework.handler import Dispatch
from framework.testing import given
from tests.runtime.till import Moved, PutIn, TakeOut


class Refunds(EventHandler[Moved]):
    """Pays back what is too much."""

    async def on_start(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch

    async def handle(self, event: Recorded[Moved]) -> None:
        if event.data.amount > 100:
            await self.dispatch(TakeOut("a", event.data.amount - 100))


class RefundsAtOnce(EventHandler[Moved]):
    async def on_start(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch

    async def handle_batch(self, events: Sequence[Recorded[Moved]]) -> int | None:
        if events[0].data.amount > 100:
            await self.dispatch(PutIn("a", len(events)))
        return 1


def test_what_a_handler_dispatches_is_what_was_expected() -> None:
    given(Refunds(), Moved(101), Moved(5), Moved(103)).then_dispatched(TakeOut("a", 1), TakeOut("a", 3))
    given(Refunds(), Moved(5)).then_dispatched()


def test_a_handler_of_batches_is_given_the_rest_again() -> None:
    given(RefundsAtOnce(), Moved(101), Moved(5), Moved(103)).then_dispatched(PutIn("a", 3), PutIn("a", 1))


def test_other_commands_are_told_apart() -> None:
    with pytest.raises(AssertionError, match=r"expected nothing, but TakeOut\(till='a', amount=1\) was dispatched"):
        given(Refunds(), Moved(101)).then_dispatched()


class Sums(Projector[Moved]):
    schema = "CREATE TABLE sums (amount bigint NOT NULL)"

    async def project_batch(self, events: Sequence[Recorded[Moved]], db: Connection) -> None:
        for amount in self.amounts(events):
            await db.execute("INSERT INTO sums VALUES ($1)", amount)

    def amounts(self, events: Sequence[Recorded[Moved]]) -> Sequence[int]:
        return [event.data.amount for event in events]


QUERY = "SELECT count(*), sum(amount)::int FROM sums"


async def test_rows_are_the_same_however_the_events_come(dsn: str) -> None:
    """Also where a loop runs already."""
    given(Sums(), Moved(1), Moved(2), Moved(3)).then_rows(QUERY, [(3, 6)], dsn=dsn)
    given(Sums()).then_rows(QUERY, [(0, None)], dsn=dsn)


def test_rows_that_are_others_are_told_apart(dsn: str) -> None:
    with pytest.raises(AssertionError, match=r"one by one: expected the rows \[\(1, 2\)\], but there are \[\(1, 1\)\]"):
        given(Sums(), Moved(1)).then_rows(QUERY, [(1, 2)], dsn=dsn)


def test_a_batch_that_is_not_the_sum_of_its_events_is_found(dsn: str) -> None:
    class FirstOnly(Sums):
        def amounts(self, events: Sequence[Recorded[Moved]]) -> Sequence[int]:
            return super().amounts(events)[:1]

    with pytest.raises(AssertionError, match="in one batch: expected the rows"):
        given(FirstOnly(), Moved(1), Moved(2)).then_rows(QUERY, [(2, 3)], dsn=dsn)


def test_what_is_kept_on_the_projector_itself_is_found(dsn: str) -> None:
    class Undone(Sums):
        """Counts how many it was given, which nobody undoes."""

        asked = 0

        def amounts(self, events: Sequence[Recorded[Moved]]) -> Sequence[int]:
            self.asked += len(events)
            return super().amounts(events) if self.asked <= 5 else []

    with pytest.raises(AssertionError, match="twice: expected the rows"):
        given(Undone(), Moved(1), Moved(2)).then_rows(QUERY, [(2, 3)], dsn=dsn)
