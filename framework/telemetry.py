"""Spans and metrics of OpenTelemetry, from what the runtime tells of its work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from weakref import ref

from opentelemetry import metrics, trace
from opentelemetry.context import Context as SpanContext
from opentelemetry.metrics import Histogram, Meter, MeterProvider, Observation
from opentelemetry.trace import Link, Span, Status, StatusCode, TracerProvider

from framework.errors import CommandRejected, ReceiptTaken, WrongExpectedVersion
from framework.messages import DispatchResult, Recorded
from framework.middleware import CommandContext, Middleware, Next
from framework.observe import (
    ACTORS_LIVE,
    AGGREGATE,
    APPEND_DURATION,
    APPEND_EVENTS,
    APPEND_SPAN,
    BATCH_DURATION,
    BATCH_EVENTS,
    BATCH_SPAN,
    CAUSATION_ID,
    COMMAND_ID,
    COMMAND_TYPE,
    COMMIT_APPENDS,
    COMMIT_DURATION,
    COMMIT_WAIT,
    CONFLICTS,
    CORRELATION_ID,
    DECIDE_SPAN,
    DISPATCH_DURATION,
    DISPATCH_SPAN,
    ERROR_TYPE,
    EVENT_TYPE,
    EVENTS,
    EVENTS_BEHIND,
    HANDLE_DURATION,
    HANDLE_SPAN,
    HANDLER,
    LOG,
    MAILBOX_WAIT,
    OUTCOME,
    PARKED_KEYS,
    POSITION,
    PROJECT_DURATION,
    PROJECT_SPAN,
    REFUSAL,
    REHYDRATE_DURATION,
    REHYDRATE_EVENTS,
    REHYDRATE_SPAN,
    ROUND_COMMANDS,
    SCOPE,
    SECONDS_BEHIND,
    SLOT,
    SLOT_HALTS,
    SLOT_RATE,
    STREAM,
    VERSION,
    Metric,
)
from framework.runtime.watch import UNWATCHED, Caller, Watch
from framework.store.batches import SentBatch
from framework.store.subscriptions import SlotLag

SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Where the buckets of durations end: those of OpenTelemetry are meant for milliseconds, and begin at five seconds."""
NUMBERS: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)
"""Where those of numbers end."""

LAG: Final[Mapping[Metric, Callable[[SlotLag], float]]] = {
    EVENTS_BEHIND: lambda slot: slot.events_behind,
    SECONDS_BEHIND: lambda slot: slot.seconds_behind,
    SLOT_RATE: lambda slot: slot.rate,
    SLOT_HALTS: lambda slot: slot.state == "halted",
    PARKED_KEYS: lambda slot: slot.parked_keys,
}
"""What is told of each slot."""

Attributes = Mapping[str, str]


class Telemetry(Watch):
    """Makes spans and metrics of what an application does; give it as `Application(telemetry=Telemetry())`.

    A refusal, a conflict and a repeat are outcomes, and leave their spans as they are; every other error marks them as
    failed. Nothing of the content of commands or events is in any of them, save what the message of such an error says.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        """Make them with the given providers, or with those that the program has set when the application opens."""
        self._providers = tracer_provider, meter_provider
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self._dispatch_duration = _histogram(meter, DISPATCH_DURATION)
        self._mailbox_wait = _histogram(meter, MAILBOX_WAIT)
        self._round_commands = _histogram(meter, ROUND_COMMANDS)
        self._append_duration = _histogram(meter, APPEND_DURATION)
        self._append_events = _histogram(meter, APPEND_EVENTS)
        self._commit_appends = _histogram(meter, COMMIT_APPENDS)
        self._commit_wait = _histogram(meter, COMMIT_WAIT)
        self._commit_duration = _histogram(meter, COMMIT_DURATION)
        self._rehydrate_duration = _histogram(meter, REHYDRATE_DURATION)
        self._rehydrate_events = _histogram(meter, REHYDRATE_EVENTS)
        self._conflicts = meter.create_counter(*CONFLICTS)
        # Not an observable one: what it calls it never lets go of, and applications come and go.
        self._actors_live = meter.create_up_down_counter(*ACTORS_LIVE)
        self._batch_duration = _histogram(meter, BATCH_DURATION)
        self._batch_events = _histogram(meter, BATCH_EVENTS)
        self._handle_duration = _histogram(meter, HANDLE_DURATION)
        self._project_duration = _histogram(meter, PROJECT_DURATION)
        self._lag: dict[str, Sequence[SlotLag]] = {}
        """By the names of the logs that are open."""
        for metric, value in LAG.items():
            meter.create_observable_gauge(metric.name, [_observing(self, value)], metric.unit, metric.description)

    def opened(self) -> Watch:
        """Return this, or nobody where no provider is there: one that does nothing takes its time, too."""
        tracers, meters = self._providers
        if _does_nothing(tracers or trace.get_tracer_provider()) and _does_nothing(
            meters or metrics.get_meter_provider()
        ):
            return UNWATCHED
        return self

    @property
    def layers(self) -> Sequence[Middleware]:
        """Return the layer that makes the spans of dispatches, and measures them."""
        return (self._dispatch,)

    async def _dispatch(self, context: CommandContext, call_next: Next) -> DispatchResult:
        """Let the command be decided within a span."""
        command = type(context.command).__name__
        began = _now()
        ending: Attributes = {OUTCOME: "cancelled"}
        try:
            with self._span(DISPATCH_SPAN.format(command=command), _identity(context)) as span:
                result = await call_next(context)
                span.set_attributes({STREAM: result.stream, VERSION: result.version})
                span.set_attributes({POSITION: result.position, EVENTS: len(result.events)})
        except Exception as error:
            ending = _ending(error)
            raise
        else:
            ending = _ending(None)
            return result
        finally:
            self._dispatch_duration.record(_now() - began, {COMMAND_TYPE: command, **ending})

    @contextmanager
    def deciding(
        self, stream: str, order: CommandContext, first_version: int, events: Sequence[object]
    ) -> Generator[None, None, None]:
        """Make a span below the one of the caller."""
        name = DECIDE_SPAN.format(command=type(order.command).__name__)
        with self._span(name, {**_identity(order), STREAM: stream}) as span:
            yield
            span.set_attributes({VERSION: first_version + len(events) - 1, EVENTS: len(events)})

    @contextmanager
    def appending(
        self, streams: Sequence[str], events: int, callers: Sequence[Caller]
    ) -> Generator[Callable[[int], None], None, None]:
        """Make a span that links to those of all *callers*, and measure the append."""
        began = _now()
        ending: Attributes = {OUTCOME: "cancelled"}
        attributes = {STREAM: streams[0] if len(streams) == 1 else tuple(streams), EVENTS: events}
        try:
            # The actor's own context is that of whoever brought it to life: nothing in it is a cause of this append.
            with self._span(APPEND_SPAN, attributes, context=SpanContext(), links=_links(callers)) as span:
                yield lambda position: span.set_attribute(POSITION, position)
            ending = _ending(None)
        except Exception as error:
            ending = _ending(error)
            raise
        finally:
            self._append_duration.record(_now() - began, ending)
            self._append_events.record(events)

    @contextmanager
    def rehydrating(
        self, aggregate: type, stream: str, callers: Sequence[Caller]
    ) -> Generator[Callable[[int], None], None, None]:
        """Make a span below that of the first of *callers*, and measure how long it takes."""
        began = _now()
        bearing = {AGGREGATE: aggregate.__name__}
        first, *others = callers
        context = trace.set_span_in_context(_span_of(first), SpanContext())
        with self._span(REHYDRATE_SPAN, {**bearing, STREAM: stream}, context=context, links=_links(others)) as span:

            def folded(events: int) -> None:
                span.set_attribute(EVENTS, events)
                self._rehydrate_events.record(events, bearing)

            yield folded
            self._rehydrate_duration.record(_now() - began, bearing)

    def taken(self, aggregate: type, callers: Sequence[Caller]) -> None:
        """Measure the round, and how long each command has waited for it."""
        bearing, now = {AGGREGATE: aggregate.__name__}, _now()
        self._round_commands.record(len(callers), bearing)
        for caller in callers:
            self._mailbox_wait.record(now - caller.asked_at, bearing)

    @property
    def wants_batches(self) -> bool:
        """Whether to be told of the batches that the store sends: yes."""
        return True

    def committed(self, log: str, batch: SentBatch) -> None:
        """Measure the batch, its wait and its way."""
        bearing = {LOG: log}
        self._commit_appends.record(batch.appends, bearing)
        self._commit_wait.record(batch.waited_s, bearing)
        self._commit_duration.record(batch.took_s, bearing)

    @property
    def wants_lag(self) -> bool:
        """Whether to be told how far slots are behind: yes."""
        return True

    def lagging(self, log: str, slots: Sequence[SlotLag]) -> None:
        """Keep it for when the metrics are collected."""
        if slots:
            self._lag[log] = slots
        else:
            self._lag.pop(log, None)

    def observed(self, value: Callable[[SlotLag], float]) -> Iterator[Observation]:
        """Return *value* of all slots that run here."""
        for log, slots in list(self._lag.items()):
            for slot in slots:
                yield Observation(value(slot), {LOG: log, HANDLER: slot.name, SLOT: slot.slot})

    @contextmanager
    def delivering(self, handler: str, slot: int, events: int) -> Generator[None, None, None]:
        """Make a span that the dispatches of the handler are below, and measure how long it takes."""
        began = _now()
        bearing = {HANDLER: handler}
        try:
            with self._span(BATCH_SPAN.format(handler=handler), {**bearing, SLOT: slot, EVENTS: events}):
                yield
        finally:
            self._batch_duration.record(_now() - began, bearing)
            self._batch_events.record(events, bearing)

    @property
    def watches_events(self) -> bool:
        """Whether to be told of every event that is handled: yes."""
        return True

    def handling(self, handler: str, events: Sequence[Recorded[Any]]) -> AbstractContextManager[None]:
        """Make a span that the dispatches of the handler are below, and measure how long it takes."""
        return self._given(HANDLE_SPAN, self._handle_duration, handler, events)

    def projecting(self, projector: str, events: Sequence[Recorded[Any]]) -> AbstractContextManager[None]:
        """Make a span, and measure how long it takes."""
        return self._given(PROJECT_SPAN, self._project_duration, projector, events)

    @contextmanager
    def _given(
        self, span: str, duration: Histogram, handler: str, events: Sequence[Recorded[Any]]
    ) -> Generator[None, None, None]:
        began = _now()
        bearing = {HANDLER: handler}
        ending: Attributes = {OUTCOME: "cancelled"}
        last = events[-1]
        attributes: dict[str, str | int | Sequence[str]] = {**bearing, EVENTS: len(events), POSITION: last.position}
        if len(events) == 1:
            attributes |= {STREAM: last.stream, VERSION: last.version, EVENT_TYPE: last.type}
            attributes |= {CORRELATION_ID: str(last.correlation_id), CAUSATION_ID: str(last.causation_id)}
        try:
            with self._span(span.format(handler=handler), attributes):
                yield
            ending = _ending(None)
        except Exception as error:
            ending = _ending(error)
            raise
        finally:
            duration.record(_now() - began, {**bearing, **ending})

    def conflicted(self, aggregate: type) -> None:
        """Count the conflict."""
        self._conflicts.add(1, {AGGREGATE: aggregate.__name__})

    def started(self, aggregate: type) -> None:
        """Count the actor."""
        self._actors_live.add(1, {AGGREGATE: aggregate.__name__})

    def ended(self, aggregate: type) -> None:
        """Count it no more."""
        self._actors_live.add(-1, {AGGREGATE: aggregate.__name__})

    @contextmanager
    def _span(
        self,
        name: str,
        attributes: Mapping[str, str | int | Sequence[str]],
        *,
        context: SpanContext | None = None,
        links: Sequence[Link] = (),
    ) -> Generator[Span, None, None]:
        """Make the current span of the block, and say in it how the block ended."""
        with self._tracer.start_as_current_span(
            name,
            context=context,
            attributes=attributes,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except asyncio.CancelledError:
                span.set_attribute(OUTCOME, "cancelled")
                raise
            except Exception as error:
                ending = _ending(error)
                span.set_attributes(ending)
                if ERROR_TYPE in ending:
                    span.record_exception(error)
                    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
            span.set_attributes(_ending(None))


def _does_nothing(provider: object) -> bool:
    """Say whether *provider* is one of those that the API itself has, for programs that set none."""
    return type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


def _histogram(meter: Meter, metric: Metric) -> Histogram:
    boundaries = SECONDS if metric.unit == "s" else NUMBERS
    return meter.create_histogram(*metric, explicit_bucket_boundaries_advisory=boundaries)


def _observing(telemetry: Telemetry, value: Callable[[SlotLag], float]) -> Callable[[object], Iterable[Observation]]:
    """Return what a meter calls, which never lets go of it: it does not hold *telemetry*."""
    held = ref(telemetry)

    def observe(options: object) -> Iterable[Observation]:
        del options
        there = held()
        return () if there is None else tuple(there.observed(value))

    return observe


def _identity(context: CommandContext) -> Attributes:
    attributes = {
        COMMAND_TYPE: type(context.command).__name__,
        COMMAND_ID: str(context.command_id),
        CORRELATION_ID: str(context.correlation_id),
    }
    if context.causation_id is not None:
        attributes[CAUSATION_ID] = str(context.causation_id)
    return attributes


def _ending(error: Exception | None) -> Attributes:
    match error:
        case None:
            return {OUTCOME: "accepted"}
        case CommandRejected():
            return {OUTCOME: "refused", REFUSAL: type(error).__name__}
        case WrongExpectedVersion():
            return {OUTCOME: "conflict"}
        case ReceiptTaken():
            return {OUTCOME: "repeated"}
        case _:
            return {OUTCOME: "failed", ERROR_TYPE: type(error).__name__}


def _links(callers: Sequence[Caller]) -> list[Link]:
    # Each once: commands that are dispatched together have one span around them.
    contexts = {each.span_id: each for each in (_span_of(caller).get_span_context() for caller in callers)}
    return [Link(context) for context in contexts.values() if context.is_valid]


def _span_of(caller: Caller) -> Span:
    return caller.context.run(trace.get_current_span)


def _now() -> float:
    return asyncio.get_running_loop().time()
