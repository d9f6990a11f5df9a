"""What is kept for a time only is forgotten after it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from framework import Application, MemoryEventStore
from framework.audit import AuditLog
from framework.policies import Defaults
from framework.runtime import housekeeping
from framework.testing import ManualClock, eventually
from tests.runtime.till import PutIn, application, tills

KEPT = timedelta(days=30)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "PRUNE_SECONDS", 0.01)


async def test_the_answer_of_a_command_is_forgotten_after_thirty_days() -> None:
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


async def test_an_audit_forgets_what_is_older_than_it_keeps() -> None:
    clock = ManualClock()
    store = MemoryEventStore(clock)
    audits = [AuditLog(store, keep_for=KEPT), AuditLog(store)]
    async with Application(store=store, router=tills(), middleware=audits, clock=clock) as app:
        await app.dispatch(PutIn("a", 1))
        clock.advance(KEPT)
        await app.dispatch(PutIn("a", 1))
        assert [entry.number for entry in await store.audited()] == [1, 2, 3, 4]

        clock.advance(timedelta(microseconds=1))

        async def the_old_ones_are_gone() -> bool:
            return [entry.number for entry in await store.audited()] == [3, 4]

        await eventually(the_old_ones_are_gone)


async def test_what_is_kept_for_ever_is_not_looked_for() -> None:
    class Keeper(MemoryEventStore):
        """Forgets nothing."""

        async def prune_receipts(self, before: object) -> int:
            raise AssertionError(before)

        async def prune_audit(self, before: object) -> int:
            raise AssertionError(before)

    store = Keeper()
    for for_ever in (timedelta.max, timedelta(days=365_000 * 3)):
        defaults = Defaults(receipts_kept=for_ever)
        audit = AuditLog(store, keep_for=for_ever)
        async with Application(store=store, router=tills(), middleware=[audit], defaults=defaults) as app:
            await app.dispatch(PutIn("a", 1))

            assert (await app.health()).failures == ()
