"""A span of OpenTelemetry around every dispatch."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider

from framework.errors import CommandRejected
from framework.messages import DispatchResult
from framework.middleware import CommandContext, Next
from framework.observe import (
    CAUSATION_ID,
    COMMAND_ID,
    COMMAND_TYPE,
    CORRELATION_ID,
    DISPATCH_SPAN,
    EVENTS,
    OUTCOME,
    POSITION,
    REFUSAL,
    STREAM,
    TRACER,
    VERSION,
)


class Tracing:
    """A middleware that makes a span of every dispatch, below the one of the caller.

    A refusal is an outcome and leaves the span as it is; every other error marks it as failed. Nothing of a command's
    content is in it.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """Make the spans with *provider*; the program's own unless given."""
        self._tracer = trace.get_tracer(TRACER, tracer_provider=provider)

    async def __call__(self, context: CommandContext, call_next: Next) -> DispatchResult:
        """Let the command be decided within a span."""
        command = type(context.command).__name__
        attributes = {
            COMMAND_TYPE: command,
            COMMAND_ID: str(context.command_id),
            CORRELATION_ID: str(context.correlation_id),
        }
        if context.causation_id is not None:
            attributes[CAUSATION_ID] = str(context.causation_id)
        with self._tracer.start_as_current_span(
            DISPATCH_SPAN.format(command=command),
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                result = await call_next(context)
            except Exception as error:
                _tell_failure(span, error)
                raise
            span.set_attributes(
                {
                    OUTCOME: "accepted",
                    STREAM: result.stream,
                    VERSION: result.version,
                    POSITION: result.position,
                    EVENTS: len(result.events),
                }
            )
            return result


def _tell_failure(span: Span, error: Exception) -> None:
    if isinstance(error, CommandRejected):
        span.set_attributes({OUTCOME: "refused", REFUSAL: type(error).__name__})
    else:
        span.set_attribute(OUTCOME, "failed")
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
