"""The facade: everything wired together, opened and closed as one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from uuid import UUID

from framework.aggregate import Aggregate
from framework.clock import SYSTEM_CLOCK, Clock
from framework.codec import Codec
from framework.contracts import message_types
from framework.errors import ConfigurationError, DuplicateName, NoReadDatabase, NotRunning
from framework.evolution import EventTypes
from framework.handler import EventHandler
from framework.journal import Journal, Unreadable
from framework.messages import Consistency, DispatchResult, Metadata, Recorded
from framework.policies import Defaults
from framework.process_manager import ProcessManager
from framework.projector import Connection, Projector
from framework.read_models import ReadModels, schema_name
from framework.router import Router
from framework.runtime.dispatcher import Order
from framework.runtime.engine import Engine, Wiring
from framework.runtime.processes import ProcessType
from framework.selection import Selection
from framework.store.protocol import EventStore

A = TypeVar("A", bound=Aggregate[Any, Any])
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
        read_models: str | None = None,
        codec: Codec | None = None,
        clock: Clock = SYSTEM_CLOCK,
        defaults: Defaults = DEFAULTS,
    ) -> None:
        """Wire the parts together.

        *read_models* is the DSN of the database that projectors write to; the store's own unless given. *codec* holds
        the types you registered with it, if you did.
        """
        codec = codec or Codec()
        started = [ProcessType(manager, codec) for manager in processes]
        _check_names([*handlers, *processes, *projectors])
        self._read_dsn = read_models or store.read_database
        if self._read_dsn is None:
            for projector in projectors:
                raise NoReadDatabase(_handler_name(projector))
        for process in started:
            _check_routed(process, router)
        types = EventTypes(_declared_events(router, started, projectors, handlers))
        for event in types.classes.values():
            codec.check(event)
        self._wiring = Wiring(
            router=router,
            journal=Journal(store, codec, types),
            clock=clock,
            defaults=defaults,
            handlers={_handler_name(handler): handler for handler in handlers},
            processes=started,
            projectors=tuple(projectors),
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
            engine = Engine(self._wiring, models)
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

    async def dispatch(
        self,
        command: object,
        *,
        command_id: UUID | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        metadata: Metadata | None = None,
        consistency: Consistency | Collection[type | str] = Consistency.EVENTUAL,
        timeout: timedelta | None = None,
    ) -> DispatchResult:
        """Have *command* decided by its aggregate, and return once what it led to is durable.

        A given *command_id* makes the dispatch idempotent: a repeat is answered, or refused, as the first was. What is
        dispatched while an event is handled is caused by it, unless *correlation_id* and *causation_id* say otherwise.
        *metadata* is recorded with every event. With `Consistency.STRONG`, or a collection of handlers, the answer
        waits until those have handled the events; `DispatchResult.waited` says who was late, and nothing is lost by it.

        Raises the `CommandRejected` that the aggregate raised, or its error if it failed; `UnknownCommand`,
        `InvalidIdentity`, `InvalidMetadata`, `UnknownHandler`, `SelfWait`, `UnencodableValue`, `InvalidDecision`,
        `CommandIdReused`, `TooManyAttempts`, `StreamDeleted`, `StorageUnavailable` or `DispatchTimeout` (after
        *timeout*): nothing was recorded. `OutcomeUnknown` after *timeout*, when the append was on its way already.
        `SubsystemFailed` when a part of the application has died, `NotRunning` when it is not open. Cancellation
        withdraws a command that waits; one in hand runs to its end without you.
        """
        order = Order(
            command,
            command_id,
            correlation_id,
            causation_id,
            metadata,
            consistency if isinstance(consistency, Consistency) else tuple(map(_handler_name, consistency)),
            None if timeout is None else timeout.total_seconds(),
        )
        return await self._alive().dispatcher.dispatch(order)

    async def state(self, aggregate: type[A], identity: object, *, version: int | None = None) -> A:
        """Return the state of the *aggregate* called *identity*, as the log has it.

        With *version*, its state as it was at that version. Of one that nobody has heard of, the initial state.
        """
        registration = self._wiring.router.registration(aggregate)
        self._alive()
        journal, page = self._wiring.journal, self._wiring.defaults.page
        stream = registration.stream_of(identity)
        state: A = registration.initial  # type: ignore[assignment]  # what is registered for a class is one of it
        after = 0
        while True:
            stored = await journal.read_stream(stream, after=after, until=version, limit=page)
            state = state.fold(map(journal.decode, stored))
            if len(stored) < page:
                break
            after = stored[-1].version
        return state

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


def _handler_name(handler: str | type | EventHandler[Any] | Projector[Any]) -> str:
    """Return the name that the progress of *handler*, an instance or its class, is stored under."""
    if isinstance(handler, str):
        return handler
    cls = handler if isinstance(handler, type) else type(handler)
    name: str = getattr(handler, "name", "") or cls.__name__
    return name


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
        name = _handler_name(handler)
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
