"""What comes out of an application: states, events, and the rows of its read models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from framework.aggregate import Aggregate
from framework.errors import ConfigurationError, InvalidOption
from framework.journal import pieces
from framework.lookback import Difference, Step
from framework.messages import Recorded
from framework.projector import Connection, Projector
from framework.router import Waiting, names
from framework.running import Running
from framework.selection import Selection

A = TypeVar("A", bound=Aggregate[Any, Any])
E = TypeVar("E")


class Viewing(Running):
    """An application as those have it who want to know something."""

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

    async def replay(
        self, aggregate: type[A], identity: object, *, after: int = 0, until: int | None = None
    ) -> AsyncGenerator[Step[A], None]:
        """Yield each event of the *aggregate* called *identity*, with its state before and after it.

        Those above the version *after*, up to the version *until*. Where `apply` fails, its error is raised when all
        before that event has been yielded: the last state is the one it fails on. Raises as `state` does.
        """
        registration = self._wiring.router.registration(aggregate)
        engine, journal, limit = self._alive(), self._wiring.journal, self._wiring.defaults.page
        stream = registration.stream_of(identity)
        loaded = (
            registration.initial if after <= 0 else (await engine.states.load(stream, registration, until=after)).state
        )
        state: A = loaded  # type: ignore[assignment]  # what is registered for a class is one of it
        version = max(after, 0)
        while stored := await journal.read_stream(stream, after=version, until=until, limit=limit):
            for each in stored:
                item = journal.record(each)
                for event in () if item is None else pieces([item]):
                    before, state = state, state.fold((event.data,))
                    yield Step(event, before, state)
            version = stored[-1].version

    async def difference(
        self, aggregate: type[A], identity: object, since: int | datetime, until: int | datetime | None = None
    ) -> Difference[A]:
        """Return what became of the *aggregate* called *identity* between two versions, or moments with a time zone.

        Up to now unless *until* is given. Raises `InvalidOption` where it ends before it begins, and as `state` does.
        """
        stream = self._wiring.router.registration(aggregate).stream_of(identity)
        first = await self._version(stream, since)
        last = None if until is None else await self._version(stream, until)
        if last is not None and last < first:
            raise InvalidOption(f"{stream}: what became of it since version {first} is not over by version {last}")
        before = after = await self.state(aggregate, identity, version=first)
        events: list[Recorded[Any]] = []
        async for step in self.replay(aggregate, identity, after=first, until=last):
            after = step.after
            events.append(step.event)
        return Difference(before, after, events)

    async def _version(self, stream: str, moment: int | datetime) -> int:
        """Return the version that *stream* had at *moment*, or the version that it is already."""
        self._alive()
        return moment if isinstance(moment, int) else await self._wiring.journal.store.version_at(stream, moment)

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
                for event in pieces(page.events):
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
