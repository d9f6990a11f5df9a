"""The values that travel: what was recorded, what a dispatch answers, and what caused what."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

import attrs

A = TypeVar("A")
E = TypeVar("E")

Metadata: TypeAlias = Mapping[str, Any]
"""What is known about a message beside its content: text keys, JSON values. Keys that begin with `$` are ours."""

CAUSED_BY = "$caused_by"
"""The metadata key that holds what caused the command that caused the event, where something did."""


# A named tuple because one is made of every event that anybody reads, and a frozen class takes three times as long.
class Recorded(NamedTuple, Generic[E]):
    """An event as the log holds it."""

    data: E
    """The event itself, in its present form."""
    event_id: UUID
    type: str
    """The name of its type today, whatever it was stored under."""
    type_version: int
    stream: str
    version: int
    """Its place in the stream: 1, 2, 3 …"""
    position: int
    """Its place in the log: 1, 2, 3 …, in the order of commits."""
    recorded_at: datetime
    """By the database's clock, never earlier than the event before it."""
    metadata: Metadata
    correlation_id: UUID
    """Shared by everything that one first command led to."""
    causation_id: UUID
    """The id of the command that caused it."""
    replaying: bool = False
    """Whether this handler has been here before: in an earlier version of its read model, or until it began anew."""


class Consistency(enum.Enum):
    """What a dispatch waits for after its events are safe."""

    EVENTUAL = "eventual"
    """Nothing."""
    STRONG = "strong"
    """Every handler, projector and process whose types match has durably passed the events."""


def _nobody() -> dict[str, str]:
    # Not dict[str, str] itself: called, it looks in vain for where to note that, and takes ten times as long.
    return {}


@attrs.frozen
class DispatchResult:
    """The answer to a command that was accepted."""

    stream: str
    version: int
    """The stream's version after this command."""
    position: int
    """The log's position of the stream's last event after this command; 0 for a stream without events."""
    events: tuple[Any, ...] = ()
    """The events this command led to, in order; none for a command that changed nothing."""
    command_id: UUID | None = None
    correlation_id: UUID | None = None
    waited: Mapping[str, str] = attrs.field(factory=_nobody)
    """What was waited for: each handler's name, and `handled`, `parked` or `late`."""


@attrs.frozen
class ResultWithState(DispatchResult, Generic[A]):
    """The answer to a command whose caller asked for the state as well."""

    state: A = attrs.field(kw_only=True)
    """The aggregate's, after this command and before the next."""


@attrs.frozen
class Cause:
    """What the code now running was caused by; commands dispatched in it inherit both."""

    correlation_id: UUID
    causation_id: UUID
    handlers: tuple[str, ...] = ()
    """The handlers that this chain of causes runs inside of, outermost first."""


current_cause: ContextVar[Cause | None] = ContextVar("framework_cause", default=None)
"""The cause of whatever runs in this context; None at the start of a chain."""
