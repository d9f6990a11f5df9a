"""The spans and the metrics of what the runtime does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import attrs
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from framework import (
    Application,
    Backoff,
    CommandContext,
    Connection,
    Consistency,
    DispatchResult,
    EventHandler,
    MemoryEventStore,
    Next,
    PostgresEventStore,
    ProcessManager,
    Projector,
    Recorded,
    Start,
)
from framework.errors import WrongExpectedVersion
from framework.handler import Dispatch
from framework.policies import Defaults
from framework.runtime.watch import UNWATCHED
from framework.telemetry import Telemetry
from tests.runtime.till import GatedStore, Moved, NotEnough, PutIn, Shake, TakeOut, Till, application, tills
from tests.sample_bank.databases import fresh_schema


class Told:
    """What an application has told, and the telemetry to give it."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader])
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    def spans(self, beginning: str = "") -> Sequence[ReadableSpan]:
        """Return those whose names begin so, in the order of their ends."""
        return [span for span in self._spans.get_finished_spans() if span.name.startswith(beginning)]

    def one(self, beginning: str) -> ReadableSpan:
        (span,) = self.spans(beginning)
        return span

    def points(self, name: str) -> list[Any]:
        """Return the points of the metric called *name*."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.tracers.shutdown()
    told.meters.shutdown()


def watched(told: Told, *middleware: Any, store: MemoryEventStore | None = None) -> Application:
    return Application(
        store=store or MemoryEventStore(), router=tills(), middleware=middleware, telemetry=told.telemetry
    )


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


# Dispatch --------------------------------------------------------------------------------------------


async def test_an_accepted_command_has_a_span_with_its_ids_and_its_place(told: Told) -> None:
    command_id, causation_id = uuid4(), uuid4()
    async with watched(told) as app:
        await app.dispatch(PutIn("a", 1), command_id=command_id, causation_id=causation_id)

    span = told.one("dispatch")
    assert span.name == "dispatch PutIn"
    assert attributes(span) == {
        "framework.command.type": "PutIn",
        "framework.command.id": str(command_id),
        "framework.correlation_id": str(command_id),
        "framework.causation_id": str(causation_id),
        "framework.outcome": "accepted",
        "framework.stream": "till-a",
        "framework.version": 1,
        "framework.position": 1,
        "framework.events": 1,
    }
    assert span.status.is_unset


async def test_a_refusal_is_an_outcome_and_no_error(told: Told) -> None:
    async with watched(told) as app:
        with pytest.raises(NotEnough):
            await app.dispatch(TakeOut("a", 1))

    for span in (told.one("dispatch"), told.one("decide")):
        assert attributes(span)["framework.outcome"] == "refused"
        assert attributes(span)["framework.refusal"] == "NotEnough"
        assert span.status.is_unset
        assert not span.events


async def test_a_version_that_was_expected_and_not_met_is_no_error_either(told: Told) -> None:
    async with watched(told) as app:
        with pytest.raises(WrongExpectedVersion):
            await app.dispatch(PutIn("a", 1), expected_version=7)

    assert attributes(told.one("dispatch"))["framework.outcome"] == "conflict"
    assert told.one("dispatch").status.is_unset


async def test_every_other_error_marks_the_span(told: Told) -> None:
    async with watched(told) as app:
        with pytest.raises(RuntimeError):
            await app.dispatch(Shake("a"))

    for span in (told.one("dispatch"), told.one("decide")):
        assert attributes(span)["framework.outcome"] == "failed"
        assert attributes(span)["error.type"] == "RuntimeError"
        assert not span.status.is_ok
        assert span.status.description == "RuntimeError"
        assert [event.name for event in span.events] == ["exception"]


async def test_a_caller_that_stops_waiting_leaves_a_span_that_says_so(told: Told) -> None:
    store = GatedStore()
    async with watched(told, store=store) as app:
        store.gate.clear()
        asking = asyncio.create_task(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        store.gate.set()

    assert attributes(told.one("dispatch"))["framework.outcome"] == "cancelled"
    (point,) = told.points("framework.dispatch.duration")
    assert point.attributes["framework.outcome"] == "cancelled"


async def test_the_span_of_a_dispatch_lies_below_the_callers_and_above_all_middleware(told: Told) -> None:
    tracer = told.tracers.get_tracer("test")

    async def inner(context: CommandContext, call_next: Next) -> DispatchResult:
        with tracer.start_as_current_span("inner"):
            return await call_next(context)

    async with watched(told, inner) as app:
        with tracer.start_as_current_span("caller"):
            await app.dispatch(PutIn("a", 1))

    below, middle, above = told.one("inner"), told.one("dispatch"), told.one("caller")
    assert below.parent == middle.get_span_context()
    assert middle.parent == above.get_span_context()


# Decide, append, rehydrate ---------------------------------------------------------------------------


async def test_a_command_is_decided_below_its_own_dispatch_whoever_woke_the_aggregate(told: Told) -> None:
    async with watched(told) as app:
        await app.dispatch(PutIn("a", 1))
        await app.dispatch(TakeOut("a", 1))

    first, second = told.spans("dispatch")
    woke, followed = told.spans("decide")
    assert (woke.parent, followed.parent) == (first.get_span_context(), second.get_span_context())
    assert attributes(followed) == {
        "framework.command.type": "TakeOut",
        "framework.command.id": attributes(second)["framework.command.id"],
        "framework.correlation_id": attributes(second)["framework.correlation_id"],
        "framework.stream": "till-a",
        "framework.version": 2,
        "framework.events": 1,
        "framework.outcome": "accepted",
    }


async def test_an_append_has_no_parent_and_links_to_every_command_of_its_round(told: Told) -> None:
    store = GatedStore()
    async with watched(told, store=store) as app, asyncio.TaskGroup() as callers:
        store.gate.clear()
        callers.create_task(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        for _ in range(3):  # they wait while the first append is on its way, and so they are one round
            callers.create_task(app.dispatch(PutIn("a", 1)))
        await asyncio.sleep(0)
        store.gate.set()

    alone, together = told.spans("append")
    first, *others = sorted(told.spans("dispatch"), key=lambda span: attributes(span)["framework.version"])
    assert [link.context for link in alone.links] == [first.get_span_context()]
    assert [link.context for link in together.links] == [span.get_span_context() for span in others]
    assert (alone.parent, together.parent) == (None, None)
    assert attributes(together) == {
        "framework.stream": "till-a",
        "framework.events": 3,
        "framework.position": 4,
        "framework.outcome": "accepted",
    }
    assert [point.sum for point in told.points("framework.append.events")] == [4]


async def test_an_append_for_several_aggregates_is_one_and_links_once_to_what_lies_around_all(told: Told) -> None:
    async with watched(told) as app:
        await app.dispatch_together([PutIn("a", 1), PutIn("b", 2), PutIn("c", 0)])

    span = told.one("append")
    (link,) = span.links
    assert [each.parent for each in told.spans("decide")] == [link.context] * 3
    assert attributes(span)["framework.stream"] == ("till-a", "till-b")
    assert attributes(span)["framework.events"] == 2
    assert attributes(span)["framework.position"] == 2


async def test_a_conflict_is_counted_and_the_command_decided_again_in_another_span(told: Told) -> None:
    store = MemoryEventStore()
    async with watched(told, store=store) as app:
        await app.dispatch(PutIn("a", 1))
        async with application(store) as other:
            await other.dispatch(PutIn("a", 1))
        await app.dispatch(PutIn("a", 1))

    assert [attributes(span)["framework.outcome"] for span in told.spans("append")] == [
        "accepted",
        "conflict",
        "accepted",
    ]
    assert all(span.status.is_unset for span in told.spans("append"))
    dispatched = told.spans("dispatch")[-1].get_span_context()
    assert [attributes(span)["framework.version"] for span in told.spans("decide") if span.parent == dispatched] == [
        2,
        3,
    ]
    (point,) = told.points("framework.conflicts")
    assert (point.value, point.attributes) == (1, {"framework.aggregate": "Till"})


async def test_a_state_is_rehydrated_below_the_command_that_woke_it(told: Told) -> None:
    store = MemoryEventStore()
    async with application(store) as before:
        for _ in range(3):
            await before.dispatch(PutIn("a", 1))
    async with watched(told, store=store) as app:
        await app.dispatch(PutIn("a", 1))
        await app.dispatch(PutIn("a", 1))

    span = told.one("rehydrate")
    assert span.parent == told.spans("dispatch")[0].get_span_context()
    assert attributes(span) == {
        "framework.aggregate": "Till",
        "framework.stream": "till-a",
        "framework.events": 3,
        "framework.outcome": "accepted",
    }
    (events,) = told.points("framework.rehydrate.events")
    (duration,) = told.points("framework.rehydrate.duration")
    assert (events.sum, duration.count) == (3, 1)


async def test_a_state_that_is_folded_anew_is_rehydrated_below_the_command_that_waits_for_it_now(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryEventStore()

    async def broken(*_: object) -> None:
        raise RuntimeError

    async with watched(told, store=store) as app:
        with monkeypatch.context() as breaking:
            breaking.setattr(store, "append", broken)
            with pytest.raises(RuntimeError):
                await app.dispatch(PutIn("a", 1))
        await app.dispatch(PutIn("a", 1))

    first, second = told.spans("dispatch")
    assert [span.parent for span in told.spans("rehydrate")] == [first.get_span_context(), second.get_span_context()]


# Metrics ---------------------------------------------------------------------------------------------


async def test_dispatches_are_measured_by_command_and_outcome(told: Told) -> None:
    async with watched(told) as app:
        await app.dispatch(PutIn("a", 1))
        await app.dispatch(PutIn("b", 1))
        with pytest.raises(NotEnough):
            await app.dispatch(TakeOut("a", 2))

    counts = {tuple(point.attributes.values()): point.count for point in told.points("framework.dispatch.duration")}
    assert counts == {("PutIn", "accepted"): 2, ("TakeOut", "refused", "NotEnough"): 1}


async def test_live_aggregates_are_counted_until_they_are_gone(told: Told) -> None:
    async with watched(told) as app:
        await app.dispatch(PutIn("a", 1))
        await app.dispatch(PutIn("b", 1))
        (open_,) = told.points("framework.actors.live")
    (closed,) = told.points("framework.actors.live")

    assert (open_.value, open_.attributes) == (2, {"framework.aggregate": Till.__name__})
    assert closed.value == 0


async def test_the_wait_in_the_mailbox_and_the_size_of_rounds_are_measured(told: Told) -> None:
    store = GatedStore()
    async with watched(told, store=store) as app, asyncio.TaskGroup() as callers:
        store.gate.clear()
        callers.create_task(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        callers.create_task(app.dispatch(PutIn("a", 1)))
        await asyncio.sleep(0)
        time.sleep(0.01)  # noqa: ASYNC251 - what is measured takes time
        store.gate.set()

    (waits,) = told.points("framework.mailbox.wait")
    (rounds,) = told.points("framework.round.commands")
    assert waits.count == 2
    assert waits.sum >= 0.01
    assert (rounds.count, rounds.sum) == (2, 2)


async def test_what_goes_to_the_database_together_is_measured(told: Told, dsn: str) -> None:
    schema = f"telemetry_{uuid4().hex[:12]}"
    store = PostgresEventStore(dsn, schema=schema)
    async with Application(store=store, router=tills(), telemetry=told.telemetry) as app:
        await app.dispatch(PutIn("a", 1))
        await asyncio.gather(*[app.dispatch(PutIn(f"{number}", 1)) for number in range(20)])

    appends, waits, durations = (told.points(f"framework.commit.{name}") for name in ("appends", "wait", "duration"))
    assert [point.attributes for point in (*appends, *waits, *durations)] == [{"framework.log": schema}] * 3
    assert appends[0].sum == 21
    assert appends[0].count == waits[0].count == durations[0].count <= 21
    assert waits[0].sum > 0
    assert durations[0].sum > 0


async def test_a_store_without_batches_tells_of_none(told: Told) -> None:
    async with watched(told) as app:
        await app.dispatch(PutIn("a", 1))

    assert told.points("framework.commit.appends") == []


# Handlers and projectors -------------------------------------------------------------------------------


class Doubler(EventHandler[Moved]):
    """Puts in as much again, once; fails at thirteen, once."""

    def __init__(self) -> None:
        self.has_failed = False

    async def on_start(self, dispatch: Dispatch) -> None:
        self.dispatch = dispatch

    async def handle(self, event: Recorded[Moved]) -> None:
        if event.data.amount == 13 and not self.has_failed:
            self.has_failed = True
            raise OSError("paper jam")
        if event.stream == "till-a":
            await self.dispatch(PutIn("b", event.data.amount))


class Adder(EventHandler[Moved]):
    """Adds up batches."""

    async def handle_batch(self, events: Sequence[Recorded[Moved]]) -> None:
        assert events


class Amounts(Projector[Moved]):
    """Every amount there was."""

    schema = "CREATE TABLE amounts (amount bigint NOT NULL)"

    async def project(self, event: Recorded[Moved], db: Connection) -> None:
        await db.execute("INSERT INTO amounts VALUES ($1)", event.data.amount)


async def test_a_handled_event_has_a_span_below_its_batch_and_above_what_the_handler_dispatches(told: Told) -> None:
    app = Application(store=MemoryEventStore(), router=tills(), handlers=[Doubler()], telemetry=told.telemetry)
    async with app:
        result = await app.dispatch(PutIn("a", 1))
        await app.wait_for(result.position, [Doubler])
        await app.wait_for(result.position + 1, [Doubler])

    first, second = told.spans("handle")
    (batch, *_) = told.spans("batch")
    (dispatch,) = [span for span in told.spans("dispatch") if attributes(span)["framework.stream"] == "till-b"]
    assert (first.name, second.name, batch.name) == ("handle Doubler", "handle Doubler", "batch Doubler")
    assert attributes(first) == {
        "framework.handler": "Doubler",
        "framework.events": 1,
        "framework.event.type": "Moved",
        "framework.stream": "till-a",
        "framework.version": 1,
        "framework.position": 1,
        "framework.correlation_id": str(result.correlation_id),
        "framework.causation_id": str(result.command_id),
        "framework.outcome": "accepted",
    }
    assert first.parent == batch.context
    assert dispatch.parent == first.context


async def test_each_attempt_at_an_event_is_watched_and_measured(told: Told) -> None:
    defaults = Defaults(handler_retry=Backoff(first=timedelta(milliseconds=1)))
    app = Application(
        store=MemoryEventStore(), router=tills(), handlers=[Doubler()], telemetry=told.telemetry, defaults=defaults
    )
    async with app:
        result = await app.dispatch(PutIn("z", 13))
        await app.wait_for(result.position, [Doubler])

    failed, accepted = told.spans("handle")
    counts = {point.attributes["framework.outcome"]: point.count for point in told.points("framework.handle.duration")}
    assert (failed.status.is_ok, attributes(failed)["error.type"]) == (False, "OSError")
    assert attributes(accepted)["framework.outcome"] == "accepted"
    assert counts == {"failed": 1, "accepted": 1}


async def test_a_batch_that_is_handled_at_once_is_one_span(told: Told) -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=tills()) as app:
        await app.dispatch(PutIn("a", 1))
        await app.dispatch(PutIn("a", 1))
        result = await app.dispatch(PutIn("a", 1))
        async with Application(store=store, router=tills(), handlers=[Adder()], telemetry=told.telemetry) as reader:
            await reader.wait_for(result.position, [Adder])

    assert attributes(told.one("handle Adder")) == {
        "framework.handler": "Adder",
        "framework.events": 3,
        "framework.position": 3,
        "framework.outcome": "accepted",
    }


async def test_a_projected_event_has_a_span_and_is_measured(told: Told, dsn: str) -> None:
    async with fresh_schema(dsn) as schema:
        store = PostgresEventStore(dsn, schema=schema)
        async with Application(store=store, router=tills(), projectors=[Amounts()], telemetry=told.telemetry) as app:
            await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)

    span = told.one("project")
    (batch, *_) = told.spans("batch")
    (point,) = told.points("framework.project.duration")
    assert span.name == "project Amounts v1"
    assert attributes(span)["framework.position"] == 1
    assert span.parent == batch.context
    assert (point.count, point.attributes["framework.handler"]) == (1, "Amounts v1")


@attrs.frozen
class Counted(ProcessManager[Moved, PutIn]):
    """Counts, and sends nothing."""

    @classmethod
    def interested(cls, event: Moved) -> Start | None:
        return Start(str(event.amount))

    def handle(self, event: Moved) -> Iterator[PutIn]:
        del event
        return iter(())


async def test_the_events_of_a_process_have_the_span_of_their_batch(told: Told) -> None:
    app = Application(store=MemoryEventStore(), router=tills(), processes=[Counted], telemetry=told.telemetry)
    async with app:
        result = await app.dispatch(PutIn("a", 1))
        await app.wait_for(result.position, ["Counted"])

    assert attributes(told.one("batch Counted"))["framework.events"] == 1
    assert [point.sum for point in told.points("framework.batch.events")] == [1]


def test_where_nobody_watches_no_event_is_told_of() -> None:
    assert not UNWATCHED.watches_events


async def test_durations_fall_into_buckets_of_less_than_a_millisecond(told: Told) -> None:
    async with watched(told) as app:
        await app.dispatch(PutIn("a", 1))

    (point,) = told.points("framework.append.duration")
    assert point.explicit_bounds[0] < 0.001
    assert point.explicit_bounds[-1] >= 10


async def test_where_the_program_has_set_no_provider_nobody_is_told_and_nothing_is_made() -> None:
    telemetry = Telemetry()

    assert telemetry.opened() is UNWATCHED
    async with Application(store=MemoryEventStore(), router=tills(), telemetry=telemetry) as app:
        assert (await app.dispatch(PutIn("a", 1))).version == 1


async def test_a_provider_that_the_program_sets_before_it_opens_the_application_is_used(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Application(store=MemoryEventStore(), router=tills(), telemetry=Telemetry())
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", told.tracers)  # what set_tracer_provider does, once in a process

    async with app:
        await app.dispatch(PutIn("a", 1))

    assert told.one("dispatch").name == "dispatch PutIn"


async def test_one_kind_of_provider_is_enough(told: Told) -> None:
    measured = Telemetry(meter_provider=told.meters)
    async with Application(store=MemoryEventStore(), router=tills(), telemetry=measured) as app:
        await app.dispatch(PutIn("a", 1))

    assert len(told.points("framework.dispatch.duration")) == 1
    assert not told.spans()
