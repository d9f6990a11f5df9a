"""Group read: the reads of streams that wait go to the database together.

An actor reads its stream when it starts, and to confirm a round that ended in no event. Under load there are hundreds
of such reads at once, each of a few events or none, and a round trip for each would cost more than all else. As with
appends there is no timer: an idle store reads at once, a busy one as much together as has gathered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from typing import Any, Final

import asyncpg
import attrs

from framework.errors import InvalidRequest, StorageUnavailable
from framework.store.postgres.reading import open_stream, records, records_behind_first
from framework.store.postgres.statements import READ_STREAM, READ_STREAMS
from framework.store.protocol import StoredEvent
from framework.store.validation import HIGHEST, within
from framework.tasks import Tasks

LANES: Final = 2
"""Groups on their way at once."""

TOGETHER: Final = 256
"""Reads in one group, at most."""

FIRST_LOOK: Final = 64
"""Events of a stream read in a group; who wants more, and finds that there is more, reads the rest alone."""

Fetch = Callable[..., Awaitable[list[Any]]]
"""Runs a statement with its arguments; raises `StorageUnavailable`."""


@attrs.define(eq=False)
class Read:
    """One caller's wish."""

    stream: str
    after: int
    until: int
    answer: asyncio.Future[list[StoredEvent]]

    def fail(self, error: Exception) -> None:
        """Tell the caller that there is no answer."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # a caller cancelled in this very step will not look


class StreamReader:
    """Takes every read of a store's streams, and sends them in groups."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._waiting: deque[Read] = deque()
        self._tasks = Tasks()
        self._under_way = 0
        """Groups: counted here, since a task that has read its last is not over in the same step."""

    async def read(self, stream: str, *, after: int, until: int | None, limit: int) -> Sequence[StoredEvent]:
        """Return at most *limit* events of *stream* in order. Cancellation withdraws the read."""
        end = HIGHEST if until is None else within(until)
        read = Read(stream, within(after), end, asyncio.get_running_loop().create_future())
        self._waiting.append(read)
        self._begin()
        events = open_stream(stream, await read.answer)
        if len(events) < FIRST_LOOK or limit <= FIRST_LOOK:
            return events[:limit]
        rows = await self._fetch(READ_STREAM, stream, events[-1].version, limit - FIRST_LOOK, end)
        return events + open_stream(stream, records(rows))

    async def close(self) -> None:
        """Break off what is under way: those who wait are told that the store is closed."""
        try:
            await self._tasks.end()
        finally:
            self._fail(self._waiting)

    def _begin(self) -> None:
        if self._waiting and self._under_way < LANES:
            self._under_way += 1
            _ = self._tasks.start("group read", self._serve, context=Context())

    async def _serve(self) -> None:
        group: list[Read] = []
        try:
            while group := self._take():
                await self._read_together(group)
        finally:
            self._under_way -= 1
            self._fail(group)  # there are some only when this was cancelled

    @staticmethod
    def _fail(reads: Iterable[Read]) -> None:
        for read in reads:
            read.fail(StorageUnavailable("the store is closed"))

    def _take(self) -> list[Read]:
        group: list[Read] = []
        while self._waiting and len(group) < TOGETHER:
            read = self._waiting.popleft()
            if not read.answer.done():
                group.append(read)
        return group

    async def _read_together(self, group: Sequence[Read]) -> None:
        try:
            rows = await self._fetch(
                READ_STREAMS,
                [read.stream for read in group],
                [read.after for read in group],
                [read.until for read in group],
                FIRST_LOOK,
            )
        except StorageUnavailable as error:
            for read in group:
                read.fail(error)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, InvalidRequest) as error:
            # Among them is a name that the database does not take: each alone, so that it fails alone.
            if len(group) == 1:
                group[0].fail(error)
            else:
                for read in group:
                    await self._read_together((read,))
        else:
            found: list[list[StoredEvent]] = [[] for _ in group]
            for row, event in zip(rows, records_behind_first(rows), strict=True):
                number: int = row["number"]
                found[number - 1].append(event)
            for read, events in zip(group, found, strict=True):
                if not read.answer.done():
                    read.answer.set_result(events)
