"""What the framework says of itself: the names of its log events, spans and metrics, and the keys they carry.

Ids of causes are bound to the context where a dispatch or the handling of an event begins, and are on every line below.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, NamedTuple
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
EVENT_PARKED: Final = "event_parked"
"""A handler failed at an event, which is set aside (error): handler, position, stream, attempts, error."""
EVENT_SKIPPED: Final = "event_skipped"
"""A handler failed at an event and goes on without it (error): handler, position, stream, attempts, error."""
POLICY_FAILED: Final = "policy_failed"
"""What a handler says of an event that failed has failed itself (error): handler, position, error."""
SLOT_HALTED: Final = "slot_halted"
"""A handler failed at an event and stands still before it (error): handler, slot, position, error."""
COMMITTED_FAILED: Final = "committed_failed"
"""A projector could not say that rows are committed, which they are (error): handler, position, error."""
PROCESS_COMMAND_PARKED: Final = "process_command_parked"
"""A command of a process was set aside, and its instance's later ones behind it (error): process, instance, reason."""
PROCESS_COMMAND_DELAYED: Final = "process_command_delayed"
"""A command of a process is sent again after a while (warning): process, instance, command, attempt, error, wait_s."""
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
NODE_BURIED: Final = "node_buried"
"""A process has said nothing for too long, and its slots are free (warning): node, label."""
NODE_REBORN: Final = "node_reborn"
"""This process was taken for dead: it has lost its slots, and takes part again under another name (error): node."""
REPORTS_LOST: Final = "reports_lost"
"""This process could not write down how its slots are; it will before long (warning): error."""
ACTOR_FAILED: Final = "actor_failed"
"""An aggregate's actor met an error of the framework's own; it starts anew from the log (error): stream."""
SNAPSHOT_TAKEN: Final = "snapshot_taken"
"""The state of an aggregate was saved (debug): stream, version."""
SNAPSHOT_FAILED: Final = "snapshot_failed"
"""It could not be saved; nothing but time is lost (warning): stream, version, error."""
SNAPSHOT_PASSED_OVER: Final = "snapshot_passed_over"
"""A snapshot is of no use, and its aggregate was loaded from the log alone (warning): stream, version, reason."""
LIFESPAN_FAILED: Final = "lifespan_failed"
"""What says how long an aggregate stays in memory has failed; its `idle_after` holds (error): stream, error."""


# Spans ---------------------------------------------------------------------------------------------

SCOPE: Final = "framework"
"""Who makes the spans and the metrics."""
DISPATCH_SPAN: Final = "dispatch {command}"
"""A dispatch, from outside of all middleware to the answer and back; below the span of the caller."""
DECIDE_SPAN: Final = "decide {command}"
"""One decision of a command, below its dispatch; another one for each time that another writer was first."""
APPEND_SPAN: Final = "append"
"""Events on their way until they are durable; it has no parent, and links to every command that they come from."""
REHYDRATE_SPAN: Final = "rehydrate"
"""A state folded from the log; below the first of the commands that wait for it, and linked to the others."""

HANDLE_SPAN: Final = "handle {handler}"
"""A handler given an event, or those of a `handle_batch`, once; below their batch, and above what it dispatches."""
PROJECT_SPAN: Final = "project {handler}"
"""A projector given an event, or those of a `project_batch`, once, within its transaction; below their batch."""
BATCH_SPAN: Final = "batch {handler}"
"""Events that a slot of a handler, projector or process is given together, with every attempt at those that fail."""


# What spans and metrics bear -----------------------------------------------------------------------

COMMAND_TYPE: Final = "framework.command.type"
"""The name of a command's class."""
COMMAND_ID: Final = "framework.command.id"
"""A command's id; the events it leads to have it as their causation."""
CORRELATION_ID: Final = "framework.correlation_id"
"""What all that follows from one first command has in common."""
CAUSATION_ID: Final = "framework.causation_id"
"""What caused a command, if something did."""
HANDLER: Final = "framework.handler"
"""The name of a subscription: that of a handler or a process, or of a projector and its version."""
SLOT: Final = "framework.slot"
"""The number of one of its slots."""
LOG: Final = "framework.log"
"""What the log is called: its schema."""
AGGREGATE: Final = "framework.aggregate"
"""The name of an aggregate's class."""
EVENT_TYPE: Final = "framework.event.type"
"""The name that an event is stored under, where one is handled by itself."""
STREAM: Final = "framework.stream"
"""Where it happens; several streams, where one append is for several."""
VERSION: Final = "framework.version"
"""The version of the stream after it, or of the event that is handled."""
POSITION: Final = "framework.position"
"""The last position in the log that it led to, or that is handled."""
EVENTS: Final = "framework.events"
"""How many events: those that a command led to, that were appended, folded or handled."""
OUTCOME: Final = "framework.outcome"
"""`accepted`, `refused` or `failed`; `conflict` where the stream was at another version, `repeated` where an append
brought what was answered before, `cancelled` where nobody waits any more."""
REFUSAL: Final = "framework.refusal"
"""The name of the refusal, for a command that was refused, which is an outcome and no error."""
ERROR_TYPE: Final = "error.type"
"""The name of the error, for what failed."""


# Metrics -------------------------------------------------------------------------------------------


class Metric(NamedTuple):
    """A metric's name, its unit as UCUM writes it, and what it is."""

    name: str
    unit: str
    description: str


DISPATCH_DURATION: Final = Metric(
    "framework.dispatch.duration", "s", "Dispatches until their answers, by command and outcome"
)
MAILBOX_WAIT: Final = Metric("framework.mailbox.wait", "s", "From a dispatch until its actor takes the command in hand")
ROUND_COMMANDS: Final = Metric("framework.round.commands", "{command}", "Commands that an actor takes in hand at once")
APPEND_DURATION: Final = Metric("framework.append.duration", "s", "Appends until they are durable, or have failed")
APPEND_EVENTS: Final = Metric("framework.append.events", "{event}", "Events of an append")
COMMIT_APPENDS: Final = Metric("framework.commit.appends", "{append}", "Appends that go to the database together")
COMMIT_WAIT: Final = Metric("framework.commit.wait", "s", "How long the first of them has waited for that")
COMMIT_DURATION: Final = Metric("framework.commit.duration", "s", "From there until all of them have their answers")
CONFLICTS: Final = Metric("framework.conflicts", "{conflict}", "Times that another writer of the stream was first")
REHYDRATE_DURATION: Final = Metric("framework.rehydrate.duration", "s", "States folded from the log")
REHYDRATE_EVENTS: Final = Metric("framework.rehydrate.events", "{event}", "Events folded into one of them")
ACTORS_LIVE: Final = Metric("framework.actors.live", "{actor}", "Aggregates in memory")
BATCH_DURATION: Final = Metric("framework.batch.duration", "s", "Events given to a slot together, until they are done")
BATCH_EVENTS: Final = Metric("framework.batch.events", "{event}", "Events given to a slot together")
HANDLE_DURATION: Final = Metric("framework.handle.duration", "s", "Handlers given events, once")
PROJECT_DURATION: Final = Metric("framework.project.duration", "s", "Projectors given events, once")
EVENTS_BEHIND: Final = Metric("framework.lag.events", "{event}", "Events that a slot which runs here has not come to")
SECONDS_BEHIND: Final = Metric("framework.lag.time", "s", "How long the first of them has been there")
SLOT_RATE: Final = Metric("framework.slot.rate", "{event}/s", "Events that a slot which runs here handles in a second")
SLOT_HALTS: Final = Metric("framework.slot.halted", "1", "Whether a slot which runs here stands still before an event")
PARKED_KEYS: Final = Metric("framework.slot.parked_keys", "{key}", "Keys that a slot which runs here holds back")


# Logs ----------------------------------------------------------------------------------------------


class Log:
    """The framework's logger, as the program has configured structlog.

    A program that has not hears of warnings and errors only: structlog would print every line there is.
    """

    def __init__(self) -> None:
        self._log = structlog.get_logger("framework")

    @property
    def is_heard(self) -> bool:
        """Whether anybody hears of steps and outcomes."""
        return structlog.is_configured()

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


def caused(*, correlation_id: UUID, causation_id: UUID | None, **keys: object) -> AbstractContextManager[None]:
    """Bind the ids of a cause, and *keys*, to every line logged in the block.

    Nothing is bound in a program that has not configured structlog, because every dispatch would pay for it.
    """
    if not structlog.is_configured():
        return _UNBOUND
    ids = {"correlation_id": correlation_id, "causation_id": causation_id, **keys}
    return _bound({key: None if value is None else str(value) for key, value in ids.items()})


@contextmanager
def _bound(keys: Mapping[str, object]) -> Generator[None, None, None]:
    # Not by bound_contextvars: it looks through all of the context first, which every dispatch would pay for.
    tokens = structlog.contextvars.bind_contextvars(**keys)
    try:
        yield
    finally:
        structlog.contextvars.reset_contextvars(**tokens)


_UNBOUND: Final = nullcontext()
