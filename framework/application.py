"""The facade: everything wired together, opened and closed as one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from uuid import UUID, uuid5

import attrs

from framework.aggregate import Aggregate
from framework.clock import SYSTEM_CLOCK, Clock
from framework.codec import Codec
from framework.contracts import handler_name, message_types
from framework.errors import (
    ConfigurationError,
    DuplicateName,
    InvalidOption,
    NoReadDatabase,
    NotRunning,
    UnknownCommand,
)
from framework.evolution import EventTypes
from framework.handler import EventHandler
from framework.journal import Journal, Unreadable
from framework.messages import DispatchResult, Metadata, Recorded, ResultWithState
from framework.middleware import CommandContext, Middleware, check_middleware
from framework.parsing import parse_command
from framework.policies import HEALTH_WITHIN, Defaults, Options
from framework.process_manager import ProcessManager
from framework.projector import Connection, Projector
from framework.read_models import ReadModels, schema_name
from framework.router import Router, Waiting, names
from framework.runtime.bulk import Bulk
from framework.runtime.control import Control
from framework.runtime.engine import Engine, Wiring
from framework.runtime.health import CLOSED, Health
from framework.runtime.processes import ProcessType
from framework.runtime.requests import NO_OPTIONS
from framework.runtime.watch import UNWATCHED, Watch
from framework.selection import Selection
from framework.store.protocol import EventStore

A = TypeVar("A", bound=Aggregate[Any, Any])
C = TypeVar("C")
E = TypeVar("E")

DEFAULTS = Defaults()


class Application:
    """Commands in, events remembered, read models kept: open it with `async with`, then `dispatch`.

    Everything that can be wrong with the wiring raises a `ConfigurationError` here, before anything runs.
    """

    def __init__(
        self,
        *,
        store: EventStore,
        router: Router,
        handlers: Sequence[EventHandler[Any]] = (),
        processes: Sequence[type[ProcessManager[Any, Any]]] = (),
        projectors: Sequence[Projector[Any]] = (),
        middleware: Sequence[Middleware] = (),
        read_models: str | None = None,
        codec: Codec | None = None,
        clock: Clock = SYSTEM_CLOCK,
        defaults: Defaults = DEFAULTS,
        telemetry: Watch = UNWATCHED,
    ) -> None:
        """Wire the parts together.

        *middleware* lies around every dispatch, the first outermost. *read_models* is the DSN of the database that
        projectors write to; the store's own unless given. *codec* holds the types you registered with it, if you did.
        *telemetry* is told of all that is done, `framework.telemetry.Telemetry()` for one; nobody unless given.
        """
        codec = codec or Codec()
        started = [ProcessType(manager, codec) for manager in processes]
        _check_names([*handlers, *processes, *projectors])
        _check_awaited(router, [*handlers, *processes, *projectors])
        check_middleware(middleware)
        self._read_dsn = read_models or store.read_database
        if self._read_dsn is None:
            for projector in projectors:
                raise NoReadDatabase(handler_name(projector))
        for process in started:
            _check_routed(process, router)
        types = EventTypes(_declared_events(router, started, projectors, handlers))
        for event in types.classes.values():
            codec.check(event)
        for registration in router.aggregates.values():
            if registration.snapshots is not None:
                codec.check(registration.aggregate)
        self._wiring = Wiring(
            router=router,
            journal=Journal(store, codec, types),
            clock=clock,
            defaults=defaults,
            handlers={handler_name(handler): handler for handler in handlers},
            processes=started,
            projectors=tuple(projectors),
            middleware=tuple(middleware),
            watch=telemetry,
        )
        self._engine: Engine | None = None
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the store, prepare the read models, start what runs; raises what they raise, with all closed again."""
        if self._engine is not None:
            message = "the application is open already: open it once, or build another"
            raise ConfigurationError(message)
        store = self._wiring.journal.store
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(store)
            models = None
            if self._read_dsn is not None and self._wiring.projectors:
                models = await opened.enter_async_context(
                    ReadModels(
                        self._read_dsn,
                        self._wiring.projectors,
                        namespace=store.namespace,
                        log_id=store.log_id,
                    )
                )
            engine = Engine(attrs.evolve(self._wiring, watch=self._wiring.watch.opened()), models)
            opened.push_async_callback(engine.stop)
            await engine.start()
            self._opened = opened.pop_all()
        self._engine = engine
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what was accepted and close; raises the `SubsystemFailed` of a part that died, if nothing else did."""
        engine = self._engine
        try:
            await self._opened.aclose()
        finally:
            self._engine = None
        if engine is not None and engine.supervisor.failure is not None and error is None:
            raise engine.supervisor.failure

    @overload
    async def dispatch(
        self,
        command: object,
        *,
        returning: type[A],
        command_id: UUID | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        metadata: Metadata | None = None,
        expected_version: int | None = None,
        consistency: Waiting | None = None,
        timeout: timedelta | None = None,
        retry: int | None = None,
    ) -> ResultWithState[A]: ...

    @overload
    async def dispatch(
        self,
        command: object,
        *,
        command_id: UUID | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        metadata: Metadata | None = None,
        expected_version: int | None = None,
        consistency: Waiting | None = None,
        timeout: timedelta | None = None,
        retry: int | None = None,
    ) -> DispatchResult: ...

    async def dispatch(
        self,
        command: object,
        *,
        returning: type[Any] | None = None,
        command_id: UUID | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        metadata: Metadata | None = None,
        expected_version: int | None = None,
        consistency: Waiting | None = None,
        timeout: timedelta | None = None,
        retry: int | None = None,
    ) -> DispatchResult:
        """Have *command* decided by its aggregate, and return once what it led to is durable.

        A given *command_id* makes the dispatch idempotent: a repeat is answered, or refused, as the first was. What is
        dispatched while an event is handled is caused by it, unless *correlation_id* and *causation_id* say otherwise.
        *metadata* is recorded with every event. With *expected_version*, a version or one of `Expected`, the command is
        decided only at that version of its aggregate. With *returning*, the aggregate's class, its state comes along.

        With `Consistency.STRONG`, or a collection of handlers, the answer waits until those have handled the events;
        `DispatchResult.waited` says who was late, and nothing is lost by it. *timeout* is for all before that wait,
        the middleware apart. *retry* is how often the command is decided again because another writer was first. What
        is left out of these three is as registered, or else as `Defaults` have it.

        Raises the `CommandRejected` that the aggregate raised, or its error if it failed; `WrongExpectedVersion` if the
        aggregate is not at *expected_version*; `UnknownCommand`, `InvalidIdentity`, `InvalidMetadata`, `InvalidOption`,
        `UnknownHandler`, `SelfWait`, `UnencodableValue`, `InvalidDecision`, `CommandIdReused`, `TooManyAttempts`,
        `StreamDeleted`, `StorageUnavailable` or `DispatchTimeout`: nothing was recorded. `OutcomeUnknown` after
        *timeout*, when the append was on its way already. `NoAnswer` for a middleware at fault. `SubsystemFailed` when
        a part of the application has died, `NotRunning` when it is not open. Cancellation withdraws a command that
        waits; one in hand runs to its end without you.
        """
        dispatcher = self._alive().dispatcher
        order = dispatcher.preparation.order(
            command,
            command_id=command_id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            metadata=metadata,
            options=_options(timeout, consistency, retry),
            expected_version=expected_version,
            returning=returning,
        )
        return await dispatcher.dispatch(order)

    async def dispatch_many(
        self,
        commands: Iterable[object],
        *,
        load_id: UUID | None = None,
        metadata: Metadata | None = None,
        consistency: Waiting | None = None,
        timeout: timedelta | None = None,
        retry: int | None = None,
        at_once: int = 256,
    ) -> Sequence[DispatchResult]:
        """Dispatch *commands* one by one, at most *at_once* at a time, and return their results in the same order.

        Those for one aggregate are decided in the order given. *commands* are taken as they are needed, so they may
        come out of a file. Under a *load_id* a load that broke off is repeated from its beginning: a command at the
        same place takes effect once.

        All are dispatched, whatever becomes of the others, and then `SomeFailed` is raised if not each has a result; it
        holds the results and the errors. Only an error that is no fault of its command (`DispatchTimeout`,
        `OutcomeUnknown`, `StorageUnavailable`, `NotRunning`, `SubsystemFailed`) and one raised by *commands* itself
        keep the rest from being begun.
        """
        dispatcher = self._alive().dispatcher
        options = _options(timeout, consistency, retry)

        def order(place: int, command: object) -> CommandContext:
            command_id = None if load_id is None else uuid5(load_id, str(place))
            return self._alive().dispatcher.preparation.order(
                command, command_id=command_id, metadata=metadata, options=options
            )

        return await Bulk(dispatcher, commands, order).run(at_once)

    async def dispatch_together(
        self,
        commands: Sequence[object],
        *,
        command_id: UUID | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        metadata: Metadata | None = None,
        consistency: Waiting | None = None,
        timeout: timedelta | None = None,
        retry: int | None = None,
    ) -> Sequence[DispatchResult]:
        """Have *commands*, for any number of aggregates, decided and recorded as one: all of them or none.

        Several for one aggregate are decided one on the other. The events lie side by side in the log, and each command
        has its own result. The first that is refused or fails refuses all, with its error. *command_id* stands for the
        whole: a repeat is answered, or refused, as the first was, and is the same only with the same commands in the
        same order. *timeout* and *retry* are for the whole, too: the longest and the most that is registered for one of
        them, unless given.

        Raises what `dispatch` raises, and means the same by it.
        """
        dispatcher = self._alive().dispatcher
        options = _options(timeout, consistency, retry)
        first = None
        orders: list[CommandContext] = []
        for place, command in enumerate(commands):
            order = dispatcher.preparation.order(
                command,
                command_id=command_id
                if first is None or command_id is None
                else uuid5(command_id, f"together/{place}"),
                correlation_id=correlation_id if first is None else first.correlation_id,
                causation_id=causation_id,
                metadata=metadata,
                options=options,
            )
            first = first or order
            orders.append(order)
        return await dispatcher.dispatch_together(orders)

    @overload
    def command_from_json(self, command: type[C], document: bytes | str) -> C: ...

    @overload
    def command_from_json(self, command: str, document: bytes | str) -> Any: ...

    def command_from_json(self, command: type[Any] | str, document: bytes | str) -> Any:
        """Return the command that the JSON *document* holds; *command* is a registered class, or the name of one.

        Raises `InvalidCommand` with everything that is wrong with the document, and where, and `UnknownCommand`.
        """
        router = self._wiring.router
        cls: type[Any] = router.command(command) if isinstance(command, str) else command
        if not router.takes(cls):
            raise UnknownCommand(cls)
        return parse_command(self._wiring.journal.codec, cls, document)

    async def state(
        self, aggregate: type[A], identity: object, *, version: int | None = None, at: datetime | None = None
    ) -> A:
        """Return the state of the *aggregate* called *identity*, as the log has it; nothing of it stays in memory.

        With *version*, its state as it was at that version, or as it is if it has not come so far; with *at*, a moment
        with a time zone, as it was then. Of one that nobody has heard of, the initial state. Raises `InvalidOption` for
        both at once, `InvalidIdentity`, `InvalidRequest`, `StreamDeleted`, `StorageUnavailable`, and what makes an
        event unreadable.
        """
        registration = self._wiring.router.registration(aggregate)
        engine = self._alive()
        stream = registration.stream_of(identity)
        if at is not None:
            if version is not None:
                raise InvalidOption("a state is asked for at a version and at a moment: give one of them")
            version = await self._wiring.journal.store.version_at(stream, at)
        state: A = (await engine.states.load(stream, registration, until=version)).state  # type: ignore[assignment]  # what is registered for a class is one of it
        return state

    async def snapshot(self, aggregate: type[Aggregate[Any, Any]], identity: object) -> int:
        """Save the present state of the *aggregate* called *identity*, and return its version.

        Of one that has no events nothing is saved, and 0 returned. Raises `ConfigurationError` if it is registered
        without snapshots, since nobody would read it, and as `state` does.
        """
        registration = self._wiring.router.registration(aggregate)
        every = registration.snapshots
        if every is None:
            name = aggregate.__name__
            raise ConfigurationError(f"{name} has no snapshots: register it with snapshots=SnapshotEvery(…)")
        engine = self._alive()
        stream = registration.stream_of(identity)
        folded = await engine.states.load(stream, registration)
        if folded.version:
            await engine.states.snapshots.save(stream, registration, every, folded)
        return folded.version

    @overload
    def events(
        self, *, after: int = 0, types: Collection[type[E]], prefix: str = "", stream: str | None = None
    ) -> AsyncGenerator[Recorded[E], None]: ...

    @overload
    def events(
        self, *, after: int = 0, types: None = None, prefix: str = "", stream: str | None = None
    ) -> AsyncGenerator[Recorded[Any], None]: ...

    async def events(
        self,
        *,
        after: int = 0,
        types: Collection[type] | None = None,
        prefix: str = "",
        stream: str | None = None,
    ) -> AsyncGenerator[Recorded[Any], None]:
        """Yield the events of the log above the position *after*, in order, and go on with those to come.

        Only those of *types*, of streams whose names begin with *prefix*, or of one *stream*, where that is given.
        It ends when the application closes, and not before. Nothing is stored of it: whoever begins again says from
        where. Raises `UnknownEventType` or `UndecodablePayload` at an event that cannot be read, `StorageUnavailable`
        while the database is away, and `ConfigurationError` for a type that the application does not know.
        """
        known = self._wiring.journal.types
        names = None if types is None else frozenset(known.name_of(each)[0] for each in types)
        with self._alive().feed(Selection(names, prefix, stream), after=after) as feed:
            while (page := await feed.next()) is not None:
                for event in page.events:
                    if isinstance(event, Unreadable):
                        raise event.error
                    yield event

    async def wait_for(
        self, position: int, handlers: Waiting, *, timeout: timedelta | None = None
    ) -> Mapping[str, str]:
        """Return when every one of *handlers* has handled the event at *position*, that of a `DispatchResult`, say.

        They may run here or in other processes. With it they have handled what came before it in its stream, or what
        else is its key to them. Returns each one's name with `handled`, `parked` or, after *timeout*, `late`; one that
        does not handle such events has. `Consistency.STRONG` means all who do. *timeout* is as long as `Defaults` have
        it for dispatches unless given.

        Raises `UnknownHandler` for a handler that no process can run which lives, `SelfWait` inside of one of them,
        `InvalidRequest` for a position that the log has not come to, `StorageUnavailable`, and what `dispatch` does
        when the application is not open. Cancellation is safe: nothing is consumed.
        """
        engine = self._alive()
        limit = self._wiring.defaults.consistency_timeout if timeout is None else timeout
        return await engine.waits.wait_for_position(position, names(handlers) or (), timeout_s=limit.total_seconds())

    async def health(self, *, within: timedelta = HEALTH_WITHIN) -> Health:
        """Return how the application is, open or not; what is wrong with it is said there, and not raised.

        A store that has not answered *within* that time counts as one that does not answer.
        """
        engine = self._engine
        return CLOSED if engine is None else await engine.health(within.total_seconds())

    @property
    def subscriptions(self) -> Control:
        """Where the handlers, processes and projectors stand, and what they have set aside; raises `NotRunning`."""
        return self._alive().control

    async def query(self, projector: type[Projector[Any]], sql: str, *args: object) -> list[Any]:
        """Return the rows of *sql*, read from the tables of *projector*. Nothing can be written."""
        async with self.reading(projector) as db:
            return await db.fetch(sql, *args)

    @asynccontextmanager
    async def reading(self, projector: type[Projector[Any]]) -> AsyncGenerator[Connection, None]:
        """Give a connection that reads the tables of *projector*."""
        models = self._alive().models
        if models is None:
            name = projector.__name__
            raise ConfigurationError(f"{name} is not among the application's projectors: add projectors=[{name}()]")
        async with models[projector].reading() as db:
            yield db

    def _alive(self) -> Engine:
        engine = self._engine
        if engine is None:
            raise NotRunning
        if engine.is_stopping:
            raise NotRunning("stopping")
        if engine.supervisor.failure is not None:
            raise engine.supervisor.failure
        return engine


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


def _options(timeout: timedelta | None, consistency: Waiting | None, retry: int | None) -> Options:
    if timeout is None and consistency is None and retry is None:
        return NO_OPTIONS
    return Options(timeout, names(consistency), retry)


def _check_awaited(router: Router, handlers: Iterable[object]) -> None:
    """Refuse a registration whose commands would wait for a handler that is not there."""
    known = set(map(handler_name, handlers))
    for route in router.commands.values():
        awaited = route.options.consistency
        for name in awaited if isinstance(awaited, tuple) else ():
            if name not in known:
                message = (
                    f"{route.command.__name__} is registered to wait for {name!r}, which is no handler, process or"
                    " projector of this application"
                )
                raise ConfigurationError(message)
