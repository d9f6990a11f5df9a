"""The parts of an application, checked: what does not go together is found before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from framework.aggregate import Aggregate
from framework.clock import Clock
from framework.codec import Codec
from framework.contracts import handler_name, message_types
from framework.errors import ConfigurationError, DuplicateName, NoReadDatabase
from framework.evolution import EventTypes, Upcaster
from framework.handler import EventHandler
from framework.journal import Journal
from framework.middleware import Middleware, check_middleware
from framework.policies import Defaults
from framework.process_manager import ProcessManager
from framework.projector import Projector
from framework.read_models import schema_name
from framework.router import Router
from framework.runtime.processes import ProcessType
from framework.runtime.watch import Watch
from framework.store.protocol import EventStore
from framework.subscription.checks import check_readers


@attrs.frozen
class Wiring:
    """An application's parts, checked and ready to run."""

    router: Router
    journal: Journal
    clock: Clock
    defaults: Defaults
    handlers: Mapping[str, EventHandler[Any]]
    processes: Sequence[ProcessType]
    projectors: Sequence[Projector[Any]]
    middleware: Sequence[Middleware]
    watch: Watch
    read_dsn: str | None
    """Of the database that projectors write to; None where there is none."""


def wire(
    *,
    store: EventStore,
    router: Router,
    handlers: Sequence[EventHandler[Any]],
    processes: Sequence[type[ProcessManager[Any, Any]]],
    projectors: Sequence[Projector[Any]],
    middleware: Sequence[Middleware],
    upcasters: Sequence[Upcaster],
    read_models: str | None,
    codec: Codec,
    clock: Clock,
    defaults: Defaults,
    watch: Watch,
) -> Wiring:
    """Return the parts as they go together; raises a `ConfigurationError` for those that do not."""
    started = [ProcessType(manager, codec) for manager in processes]
    _check_names([*handlers, *processes, *projectors])
    check_readers(handlers, projectors)
    _check_awaited(router, started, [*handlers, *processes, *projectors])
    check_middleware(middleware)
    read_dsn = read_models or store.read_database
    if read_dsn is None:
        for projector in projectors:
            raise NoReadDatabase(handler_name(projector))
    for process in started:
        _check_routed(process, router)
    types = EventTypes(_declared_events(router, started, projectors, handlers), upcasters)
    for event in types.classes.values():
        codec.check(event)
    for registration in router.aggregates.values():
        if registration.snapshots is not None:
            codec.check(registration.aggregate)
    return Wiring(
        router=router,
        journal=Journal(store, codec, types),
        clock=clock,
        defaults=defaults,
        handlers={handler_name(handler): handler for handler in handlers},
        processes=started,
        projectors=tuple(projectors),
        middleware=tuple(middleware),
        watch=watch,
        read_dsn=read_dsn,
    )


def _declared_events(
    router: Router,
    processes: Iterable[ProcessType],
    projectors: Iterable[Projector[Any]],
    handlers: Iterable[EventHandler[Any]],
) -> Iterator[type]:
    for registration in router.aggregates.values():
        yield from message_types(registration.aggregate, Aggregate, 1)
    for process in processes:
        yield from process.events
    for projector in projectors:
        yield from message_types(type(projector), Projector, 0)
    for handler in handlers:
        yield from message_types(type(handler), EventHandler, 0)


def _check_names(handlers: Iterable[type | EventHandler[Any] | Projector[Any]]) -> None:
    """Refuse two handlers, processes or projectors whose progress would be stored under one name."""
    seen: dict[str, type] = {}
    for handler in handlers:
        cls = handler if isinstance(handler, type) else type(handler)
        name = handler_name(handler)
        key = schema_name("", name, 0)  # what a projector's name becomes, where case does not tell
        if key in seen:
            raise DuplicateName("handler name", name, seen[key], cls)
        seen[key] = cls


def _check_routed(process: ProcessType, router: Router) -> None:
    for command in process.commands.values():
        if not router.takes(command):
            message = (
                f"process {process.name} sends {command.__name__}, which no aggregate takes:"
                " register one that does with router.register"
            )
            raise ConfigurationError(message)


def _check_awaited(router: Router, processes: Iterable[ProcessType], handlers: Iterable[object]) -> None:
    """Refuse a registration, or a process, whose commands would wait for a handler that is not there."""
    known = set(map(handler_name, handlers))
    options = [(f"{route.command.__name__} is registered", route.options) for route in router.commands.values()]
    options += [(f"{process.name} has its commands", process.options) for process in processes]
    for who, each in options:
        for name in each.consistency if isinstance(each.consistency, tuple) else ():
            if name not in known:
                message = f"{who} to wait for {name!r}, which is no handler, process or projector of this application"
                raise ConfigurationError(message)
