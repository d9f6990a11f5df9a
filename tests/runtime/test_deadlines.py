"""Callers whose time is over are told so, and those who were answered leave nothing behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from framework.errors import DispatchTimeout
from framework.runtime import deadlines
from framework.runtime.deadlines import Deadline
from tests.runtime.till import GatedStore, PutIn, application


@pytest.fixture
def alarms(monkeypatch: pytest.MonkeyPatch) -> list[Deadline]:
    """The deadlines that were made."""
    made: list[Deadline] = []

    class Noted(Deadline):
        def __init__(self, moments: dict[int, Deadline], number: int) -> None:
            super().__init__(moments, number)
            made.append(self)

    monkeypatch.setattr(deadlines, "Deadline", Noted)
    return made


async def test_callers_whose_time_ends_at_one_moment_share_an_alarm(
    alarms: list[Deadline], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "GRANULE_S", 60.0)
    store = GatedStore()
    async with application(store) as app:
        store.gate.clear()
        dispatches = [asyncio.ensure_future(app.dispatch(PutIn(f"till-{n}", 1))) for n in range(20)]
        for _ in dispatches:
            await store.arrived.acquire()
        store.gate.set()
        await asyncio.gather(*dispatches)

    assert len(alarms) in {1, 2}  # a minute may have begun meanwhile


async def test_an_alarm_that_nobody_waits_for_is_gone(alarms: list[Deadline]) -> None:
    async with application(GatedStore()) as app:
        await app.dispatch(PutIn("a", 1))

    (alarm,) = alarms
    assert alarm.is_over


async def test_of_those_who_share_an_alarm_only_who_still_waits_is_told() -> None:
    store = GatedStore()
    async with application(store) as app:
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        waiting = [
            asyncio.ensure_future(app.dispatch(PutIn("a", 1), timeout=timedelta(milliseconds=5))) for _ in range(5)
        ]

        answers = await asyncio.gather(*waiting, return_exceptions=True)
        store.gate.set()

        assert [type(answer) for answer in answers] == [DispatchTimeout] * 5
        assert (await first).version == 1
