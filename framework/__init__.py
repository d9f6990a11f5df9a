"""CQRS and event sourcing: aggregates decide, a journal remembers, an application wires it together."""

from framework.aggregate import Aggregate
from framework.application import Application
from framework.cron import Cron
from framework.errors import CommandRejected, FrameworkError
from framework.evolution import Upcast, Upcaster, event_type
from framework.handler import EventHandler
from framework.messages import Consistency, DispatchResult, Metadata, Recorded
from framework.middleware import CommandContext, Middleware, Next
from framework.policies import Backoff, Lifespan, SnapshotEvery
from framework.process_manager import Cancel, Continue, DropRest, ProcessManager, Schedule, Start, Stop
from framework.projector import Connection, Projector
from framework.reactions import Halt, Park, Retry, Skip
from framework.router import Router
from framework.store.memory import MemoryEventStore
from framework.store.postgres import PostgresEventStore

__all__ = [
    "Aggregate",
    "Application",
    "Backoff",
    "Cancel",
    "CommandContext",
    "CommandRejected",
    "Connection",
    "Consistency",
    "Continue",
    "Cron",
    "DispatchResult",
    "DropRest",
    "EventHandler",
    "FrameworkError",
    "Halt",
    "Lifespan",
    "MemoryEventStore",
    "Metadata",
    "Middleware",
    "Next",
    "Park",
    "PostgresEventStore",
    "ProcessManager",
    "Projector",
    "Recorded",
    "Retry",
    "Router",
    "Schedule",
    "Skip",
    "SnapshotEvery",
    "Start",
    "Stop",
    "Upcast",
    "Upcaster",
    "event_type",
]
