"""What a handler dispatches, and which rows a projector writes, of given events."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any, Generic, TypeVar
from uuid import UUID

from framework.clock import new_id, now
from framework.connections import connect
from framework.evolution import stored_name
from framework.handler import EventHandler
from framework.messages import DispatchResult, Metadata, Recorded
from framework.projector import Connection, Projector
from framework.read_models import ReadModel, remove
from framework.store.subscriptions import Lease
from framework.testing.postgres import PostgresSchemas

E = TypeVar("E")
T = TypeVar("T")

STREAM = "given"
"""The stream that the given events are in."""


class HandlerGiven(Generic[E]):
    """A handler and events for it."""

    def __init__(self, handler: EventHandler[E], events: Sequence[E]) -> None:
        self._handler = handler
        self._events = recorded(events)

    def then_dispatched(self, *commands: object) -> None:
        """Assert that exactly these *commands* are dispatched, in this order, by the `dispatch` given to `on_start`.

        All events are handled, in one batch if it takes batches. Nothing is decided: every command is accepted.
        """
        dispatched = apart(self._dispatched())
        assert dispatched == list(commands), (
            f"expected {', '.join(map(repr, commands)) or 'nothing'}, but"
            f" {', '.join(map(repr, dispatched)) or 'nothing'} was dispatched"
        )

    async def _dispatched(self) -> list[object]:
        commands: list[object] = []

        async def dispatch(
            command: object,
            *,
            command_id: UUID | None = None,
            correlation_id: UUID | None = None,
            causation_id: UUID | None = None,
            metadata: Metadata | None = None,
        ) -> DispatchResult:
            del correlation_id, causation_id, metadata
            commands.append(command)
            return DispatchResult(STREAM, version=0, position=0, command_id=command_id)

        await self._handler.on_start(dispatch)
        if self._handler.is_batched:
            rest = self._events
            while rest:
                done = await self._handler.handle_batch(rest)
                rest = rest[len(rest) if done is None else done :]
        else:
            for event in self._events:
                await self._handler.handle(event)
        await self._handler.on_stop()
        return commands


class ProjectorGiven(Generic[E]):
    """A projector and events for it."""

    def __init__(self, projector: Projector[E], events: Sequence[E]) -> None:
        self._projector = projector
        self._events = recorded(events)

    def then_rows(self, query: str, rows: Sequence[tuple[object, ...]], *, dsn: str | None = None) -> None:
        """Assert that *query* returns exactly these *rows*, in this order, however the events come.

        They come one by one, in one batch, and twice, where all that was written the first time is undone: the rows
        must be the same each time. The tables are in a schema of their own, in the database *dsn*; unless given, in the
        one that FRAMEWORK_DSN names, or in one that is started for this.
        """
        singly = [[event] for event in self._events]
        for how, batches, is_undone in (
            ("one by one", singly, False),
            ("in one batch", [self._events] if self._events else [], False),
            ("twice", singly, True),
        ):
            found = apart(self._rows(dsn or database(), query, batches, is_undone=is_undone))
            assert found == list(rows), f"{how}: expected the rows {list(rows)!r}, but there are {found!r}"

    async def _rows(
        self, dsn: str, query: str, batches: Sequence[Sequence[Recorded[E]]], *, is_undone: bool
    ) -> list[tuple[object, ...]]:
        namespace = f"given_{new_id().hex}"
        model = ReadModel(dsn, self._projector, namespace)
        try:
            await model.open(new_id())
            lease = Lease(model.subscription, 0, 1)
            await model.take_over(lease, 1)
            for events in batches:
                if is_undone:
                    with suppress(_UndoneError):
                        async with model.advancing(lease, events[-1].position) as db:
                            await self._project(events, db)
                            raise _UndoneError
                async with model.advancing(lease, events[-1].position) as db:
                    await self._project(events, db)
            async with model.reading() as db:
                return [tuple(row) for row in await db.fetch(query)]
        finally:
            await model.close()
            connection = await connect(dsn)
            try:
                await remove(connection, namespace)
            finally:
                await connection.close()

    async def _project(self, events: Sequence[Recorded[E]], db: Connection) -> None:
        if self._projector.is_batched:
            await self._projector.project_batch(events, db)
        else:
            for event in events:
                await self._projector.project(event, db)


class _UndoneError(Exception):
    """What was written is not to stay."""


def recorded(events: Sequence[E]) -> Sequence[Recorded[E]]:
    """Return *events* as if they were the log, all of one stream."""
    correlation_id, at = new_id(), now()
    return [
        Recorded(
            data=event,
            event_id=new_id(),
            type=stored_name(type(event))[0],
            type_version=stored_name(type(event))[1],
            stream=STREAM,
            version=number,
            position=number,
            recorded_at=at,
            metadata={},
            correlation_id=correlation_id,
            causation_id=correlation_id,
        )
        for number, event in enumerate(events, start=1)
    ]


def apart(work: Coroutine[Any, Any, T]) -> T:
    """Await *work* on a loop of its own, whether or not one runs here."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@cache
def database() -> str:
    """Return the DSN of the database for all that is given in this process."""
    schemas = PostgresSchemas(given=os.environ.get("FRAMEWORK_DSN") or None)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(schemas.__enter__).result()
    atexit.register(schemas.__exit__, None, None, None)
    return schemas.dsn
