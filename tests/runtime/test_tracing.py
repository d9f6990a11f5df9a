"""The span of a dispatch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from framework import Application, CommandContext, DispatchResult, MemoryEventStore, Next
from framework.tracing import Tracing
from tests.runtime.till import NotEnough, PutIn, Shake, TakeOut, tills


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def traced(provider: TracerProvider, *inner: Any) -> Application:
    return Application(store=MemoryEventStore(), router=tills(), middleware=[Tracing(provider), *inner])


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


async def test_an_accepted_command_has_a_span_with_its_ids_and_its_place(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    command_id, causation_id = uuid4(), uuid4()
    async with traced(provider) as app:
        await app.dispatch(PutIn("a", 1), command_id=command_id, causation_id=causation_id)

    (span,) = exporter.get_finished_spans()
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


async def test_a_refusal_is_an_outcome_and_no_error(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    async with traced(provider) as app:
        with pytest.raises(NotEnough):
            await app.dispatch(TakeOut("a", 1))

    (span,) = exporter.get_finished_spans()
    assert attributes(span)["framework.outcome"] == "refused"
    assert attributes(span)["framework.refusal"] == "NotEnough"
    assert span.status.is_unset
    assert not span.events


async def test_every_other_error_marks_the_span(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    async with traced(provider) as app:
        with pytest.raises(RuntimeError):
            await app.dispatch(Shake("a"))

    (span,) = exporter.get_finished_spans()
    assert attributes(span)["framework.outcome"] == "failed"
    assert not span.status.is_ok
    assert span.status.description == "RuntimeError"
    assert [event.name for event in span.events] == ["exception"]


async def test_the_span_lies_below_the_callers_and_above_what_is_further_in(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    tracer = provider.get_tracer("test")

    async def inner(context: CommandContext, call_next: Next) -> DispatchResult:
        with tracer.start_as_current_span("inner"):
            return await call_next(context)

    async with traced(provider, inner) as app:
        with tracer.start_as_current_span("caller"):
            await app.dispatch(PutIn("a", 1))

    below, middle, above = exporter.get_finished_spans()
    assert (below.name, middle.name, above.name) == ("inner", "dispatch PutIn", "caller")
    assert below.parent == middle.get_span_context()
    assert middle.parent == above.get_span_context()


async def test_without_a_provider_nothing_is_made_and_nothing_fails() -> None:
    async with Application(store=MemoryEventStore(), router=tills(), middleware=[Tracing()]) as app:
        assert (await app.dispatch(PutIn("a", 1))).version == 1

    assert not trace.get_current_span().is_recording()
