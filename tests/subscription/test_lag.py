"""How far a slot is behind, and why, is there for everybody to read a moment after it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from framework import Application, Backoff, EventHandler, Halt, MemoryEventStore, PostgresEventStore, Recorded
from framework.errors import StorageUnavailable
from framework.policies import Defaults
from framework.reactions import Reaction
from framework.runtime import reports
from framework.store.protocol import EventStore
from framework.store.subscriptions import Report
from framework.subscription import slots
from framework.telemetry import Telemetry
from framework.testing import eventually
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema

QUICK = Defaults(handler_retry=Backoff(attempts=2, first=timedelta(milliseconds=1)))
JAM = 13


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        async with fresh_schema(dsn) as schema:
            yield PostgresEventStore(dsn, schema=schema)


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "REPORT_SECONDS", 0.02)


class Printer(EventHandler[Moved]):
    def __init__(self) -> None:
        self.paper = asyncio.Event()
        self.paper.set()

    async def handle(self, event: Recorded[Moved]) -> None:
        await self.paper.wait()
        if event.data.amount == JAM:
            raise OSError("paper jam")


class Sorter(Printer):
    partitions: ClassVar[int] = 2

    def partition_by(self, event: Recorded[Moved]) -> str:
        return "small" if event.data.amount < 100 else "large"


def shop(store: EventStore, *handlers: EventHandler[Moved], **options: Any) -> Application:
    return Application(store=store, router=tills(), handlers=handlers, defaults=QUICK, **options)


async def sees(app: Application, *wanted: tuple[object, ...], of: tuple[str, ...]) -> None:
    """Wait until the slots have what is *wanted* in the fields *of* them."""

    async def is_seen() -> None:
        found = [tuple(getattr(slot, field) for field in of) for slot in await app.subscriptions.lag()]
        assert found == list(wanted)

    await eventually(is_seen)


async def test_a_slot_is_behind_while_its_handler_is_at_work_and_then_no_more(store: EventStore) -> None:
    printer = Printer()
    async with shop(store, printer) as app:
        printer.paper.clear()
        for amount in (1, 2):
            await app.dispatch(PutIn("a", amount))
        await sees(app, (0, 2, 2, "running"), of=("position", "head", "events_behind", "state"))
        (slot,) = await app.subscriptions.lag()
        assert 0 < slot.seconds_behind < 60
        assert slot.owner is not None

        printer.paper.set()

        await sees(app, (2, 0, 0.0), of=("position", "events_behind", "seconds_behind"))
        await sees(app, ("append", 0.0), of=("woken_by", "rate"))


async def test_a_slot_that_nothing_is_for_does_not_look_as_if_it_were_behind(store: EventStore) -> None:
    async with shop(store, Sorter()) as app:
        await sees(app, ("running",), ("running",), of=("state",))
        for amount in (1, 2, 3):
            await app.dispatch(PutIn("a", amount))

        await sees(app, (0, 0), (1, 0), of=("slot", "events_behind"))


async def test_an_event_that_is_tried_again_is_told_and_so_is_its_end(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = asyncio.Event()

    async def wait(_hold: object, _seconds: float) -> None:
        await pause.wait()

    monkeypatch.setattr(slots.Hold, "pause", wait)
    async with shop(store, Printer()) as app:
        await app.dispatch(PutIn("a", JAM))
        await sees(app, ("retrying", "OSError: paper jam", 0), of=("state", "error", "parked_keys"))

        pause.set()

        await sees(app, ("running", None, 1, 0), of=("state", "error", "parked_keys", "events_behind"))
        await app.subscriptions.discard(Printer)
        await sees(app, (0,), of=("parked_keys",))


async def test_a_slot_that_halts_is_told_with_what_it_halts_at(store: EventStore) -> None:
    class Strict(Printer):
        def on_error(self, event: Recorded[Moved], error: Exception, attempt: int) -> Reaction:
            return Halt()

    async with shop(store, Strict()) as app:
        await app.dispatch(PutIn("a", JAM))

        error = "it stands still before position 1: OSError('paper jam')"
        await sees(app, ("halted", error, 1), of=("state", "error", "events_behind"))


async def test_what_could_not_be_written_down_is_written_later(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = store.subscriptions.report
    failures = 0

    async def away(news: list[Report]) -> None:
        nonlocal failures
        if news and failures < 2:
            failures += 1
            raise StorageUnavailable("away")
        await report(news)

    monkeypatch.setattr(store.subscriptions, "report", away)
    async with shop(store, Printer()) as app:
        await app.dispatch(PutIn("a", JAM))

        await sees(app, (1,), of=("parked_keys",))

    assert failures == 2


async def test_a_process_tells_gauges_of_the_slots_that_it_runs(store: EventStore) -> None:
    reader = InMemoryMetricReader()
    telemetry = Telemetry(meter_provider=MeterProvider([reader]))
    async with shop(store, Printer(), telemetry=telemetry) as app:
        await app.dispatch(PutIn("a", JAM))

        await eventually(lambda: gauges(reader).get("framework.slot.parked_keys") == ("Printer", 0, 1))
        await eventually(lambda: gauges(reader).get("framework.lag.events") == ("Printer", 0, 0))

    assert "framework.lag.events" not in gauges(reader)


def gauges(reader: InMemoryMetricReader) -> dict[str, tuple[object, object, object]]:
    data = reader.get_metrics_data()
    found: dict[str, tuple[object, object, object]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points: Any = (
                    metric.data.data_points if metric.name.startswith(("framework.lag", "framework.slot")) else ()
                )
                for point in points:
                    found[metric.name] = (
                        point.attributes["framework.handler"],
                        point.attributes["framework.slot"],
                        point.value,
                    )
    return found
