"""What is kept for a time only is forgotten after it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from framework import MemoryEventStore
from framework.runtime import engine
from framework.testing import ManualClock, eventually
from tests.runtime.till import PutIn, application

KEPT = timedelta(days=30)


async def test_the_answer_of_a_command_is_forgotten_after_thirty_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PRUNE_SECONDS", 0.01)
    clock = ManualClock()
    store = MemoryEventStore(clock)
    old, new = clock.new_id(), clock.new_id()
    async with application(store, clock=clock) as app:
        await app.dispatch(PutIn("a", 1), command_id=old)
        clock.advance(KEPT)
        await app.dispatch(PutIn("a", 1), command_id=new)
        assert len(await store.receipts([old, new])) == 2

        clock.advance(timedelta(microseconds=1))

        async def the_old_one_is_gone() -> bool:
            return set(await store.receipts([old, new])) == {new}

        await eventually(the_old_one_is_gone)
