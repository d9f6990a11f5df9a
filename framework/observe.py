"""What the framework says of itself: the names of its log events, and the keys they carry.

Ids of causes are bound to the context where a dispatch or the handling of an event begins, and are on every line below.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import structlog

COMMAND_ACCEPTED: Final = "command_accepted"
"""A command was decided and is durable (debug): stream, version, command, events (how many)."""
COMMAND_REJECTED: Final = "command_rejected"
"""A command was refused by its aggregate (info): stream, command, reason."""
COMMAND_FAILED: Final = "command_failed"
"""A command ended in an error that is no refusal (error): command, error."""
AUDIT_OUTCOME_LOST: Final = "audit_outcome_lost"
"""What became of a command could not be added to its entry in the audit (error): number, outcome, error."""
EVENT_RECEIVED: Final = "event_received"
"""A handler begins with an event, the causation_id of the line (debug): handler, type, stream, version, position."""
HANDLER_RETRY: Final = "handler_retry"
"""A handler failed at an event and will try again (warning): handler, position, attempt, error, wait_s."""
HANDLER_FAILED: Final = "handler_failed"
"""A handler failed at an event for the last time and stops (error): handler, position, attempts."""
PROCESS_COMMAND_PARKED: Final = "process_command_parked"
"""A command of a process was set aside, and its instance's later ones behind it (error): process, instance, reason."""
SUBSYSTEM_RESTARTED: Final = "subsystem_restarted"
"""A part lost its database and starts again (warning): name, error, wait_s."""
SUBSYSTEM_FAILED: Final = "subsystem_failed"
"""A part died; the application takes no more commands (error): name."""
LISTENER_LOST: Final = "listener_lost"
"""The way to hear of other nodes' events is cut; until it is mended the log is looked at (warning): error."""
LEASE_TAKEN: Final = "lease_taken"
"""This process runs a slot of a handler from here on (info): handler, slot, fence."""
LEASE_RELEASED: Final = "lease_released"
"""It has given a slot back, for another process to run (info): handler, slot, fence."""
LEASE_LOST: Final = "lease_lost"
"""Another process has taken a slot that this one ran (warning): handler, slot, fence."""
LEASES_UNKNOWN: Final = "leases_unknown"
"""This process could not say that it lives; its slots stop when others may take them (warning): error."""
ACTOR_FAILED: Final = "actor_failed"
"""An aggregate's actor met an error of the framework's own; it starts anew from the log (error): stream."""


# Spans ---------------------------------------------------------------------------------------------

TRACER: Final = "framework"
"""Who makes the spans."""
DISPATCH_SPAN: Final = "dispatch {command}"
"""A dispatch, from the middleware that makes the span to the answer and back."""
COMMAND_TYPE: Final = "framework.command.type"
COMMAND_ID: Final = "framework.command.id"
CORRELATION_ID: Final = "framework.correlation_id"
CAUSATION_ID: Final = "framework.causation_id"
STREAM: Final = "framework.stream"
VERSION: Final = "framework.version"
POSITION: Final = "framework.position"
EVENTS: Final = "framework.events"
"""How many events a command led to."""
OUTCOME: Final = "framework.outcome"
"""`accepted`, `refused` or `failed`."""
REFUSAL: Final = "framework.refusal"
"""The name of the refusal, for a command that was refused, which is an outcome and no error."""


class Log:
    """The framework's logger, as the program has configured structlog.

    A program that has not hears of warnings and errors only: structlog would print every line there is.
    """

    def __init__(self) -> None:
        self._log = structlog.get_logger("framework")

    def debug(self, event: str, **keys: object) -> None:
        """Say a step."""
        if structlog.is_configured():
            self._log.debug(event, **keys)

    def info(self, event: str, **keys: object) -> None:
        """Say an outcome."""
        if structlog.is_configured():
            self._log.info(event, **keys)

    def warning(self, event: str, **keys: object) -> None:
        """Say what heals itself."""
        self._log.warning(event, **keys)

    def error(self, event: str, **keys: object) -> None:
        """Say what a person must see."""
        self._log.error(event, **keys)


log = Log()


@contextmanager
def caused(*, correlation_id: UUID, causation_id: UUID | None, **keys: object) -> Generator[None, None, None]:
    """Bind the ids of a cause, and *keys*, to every line logged in the block.

    Nothing is bound in a program that has not configured structlog, because every dispatch would pay for it.
    """
    if not structlog.is_configured():
        yield
        return
    # Not by bound_contextvars: it looks through all of the context first, which every dispatch would pay for.
    tokens = structlog.contextvars.bind_contextvars(
        correlation_id=str(correlation_id),
        causation_id=str(causation_id) if causation_id else None,
        **{key: str(value) for key, value in keys.items()},
    )
    try:
        yield
    finally:
        structlog.contextvars.reset_contextvars(**tokens)
