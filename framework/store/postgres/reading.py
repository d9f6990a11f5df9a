"""Reads of the log in pages, by id, by correlation, and as of a moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any, Final, cast
from uuid import UUID

from framework.errors import StreamDeleted
from framework.store.postgres import statements
from framework.store.postgres.asking import Asking
from framework.store.protocol import LogPage, StoredEvent
from framework.store.validation import HIGHEST, check_filter, check_limit, check_moment, check_text, within

WINDOW: Final = 100_000
"""Positions that one page of a filtered read looks at, at most: a rare type must not make a page slow."""

NEAR: Final = 4
"""Positions for each event of a page that are gone through, before events are looked up by their types."""

# A row has its columns in the order of the tuple's fields. These run once per event, and in C.
_record: Callable[[Iterable[Any]], StoredEvent] = partial(cast("Any", tuple).__new__, StoredEvent)
_without_first: Callable[[Any], Any] = itemgetter(slice(1, None))


def records(rows: Iterable[Any]) -> list[StoredEvent]:
    """Return *rows* of an event's columns as events."""
    return list(map(_record, rows))


def records_behind_first(rows: Iterable[Any]) -> list[StoredEvent]:
    """Return *rows* as events that begin with their second column."""
    return list(map(_record, map(_without_first, rows)))


def open_stream(stream: str, events: list[StoredEvent]) -> list[StoredEvent]:
    """Return *events*, which were read from *stream*; raises `StreamDeleted` if they say that it is."""
    if events and not events[0].version:
        raise StreamDeleted(stream)
    return events


class Reading(Asking):
    """Everything that is read from the log but the streams' own way forward, which is shared."""

    async def read_stream_backward(
        self, stream: str, *, before: int | None = None, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* events of *stream* from its end down, or from below the version *before*."""
        check_text("a stream", stream)
        check_limit(limit)
        start = HIGHEST if before is None else within(before)
        return open_stream(stream, records(await self._fetch(statements.READ_STREAM_BACKWARD, stream, start, limit)))

    async def read_log(
        self, *, after: int = 0, limit: int = 1_000, types: Collection[str] | None = None, prefix: str = ""
    ) -> LogPage:
        """Return at most *limit* events with a position above *after*, in order, as far as they are wanted."""
        check_limit(limit)
        check_filter(types, prefix)
        after = within(after)
        end = after + max(WINDOW, limit)
        if types is not None:
            near = min(after + NEAR * limit, end)
            rows = await self._fetch(statements.READ_LOG_OF_TYPES, after, limit, end, list(types), prefix, near)
        elif prefix:
            rows = await self._fetch(statements.READ_LOG_OF_STREAMS, after, limit, end, prefix)
        else:
            rows = await self._fetch(statements.READ_LOG, after, limit)
            end = HIGHEST
        head, events = _page(rows)
        return LogPage(events, events[-1].position if len(events) == limit else max(min(head, end), after), head)

    async def read_log_backward(
        self,
        *,
        before: int | None = None,
        limit: int = 1_000,
        types: Collection[str] | None = None,
        prefix: str = "",
    ) -> LogPage:
        """Return at most *limit* events from the head down, or from below *before*, as far as they are wanted."""
        check_limit(limit)
        check_filter(types, prefix)
        start = HIGHEST if before is None else within(before)
        window = max(WINDOW, limit)
        if types is not None:
            rows = await self._fetch(statements.READ_LOG_OF_TYPES_BACKWARD, start, limit, window, list(types), prefix)
        elif prefix:
            rows = await self._fetch(statements.READ_LOG_OF_STREAMS_BACKWARD, start, limit, window, prefix)
        else:
            rows = await self._fetch(statements.READ_LOG_BACKWARD, start, limit)
            window = HIGHEST
        head, events = _page(rows)
        looked_to = events[-1].position if len(events) == limit else max(min(start, head + 1) - window, 1)
        return LogPage(events, looked_to, head)

    async def read_events(self, event_ids: Collection[UUID]) -> Sequence[StoredEvent]:
        """Return the events there are under *event_ids*, in the order of the log."""
        return records(await self._fetch(statements.READ_EVENTS, list(event_ids)))

    async def read_correlated(
        self, correlation_id: UUID, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* events of that correlation with positions above *after*, in order."""
        check_limit(limit)
        return records(await self._fetch(statements.READ_CORRELATED, correlation_id, within(after), limit))

    async def position_at(self, moment: datetime) -> int:
        """Return the last position that was recorded at *moment* or before; 0 if none was."""
        check_moment(moment)
        rows = await self._fetch(statements.POSITION_AT, moment)
        position: int = rows[0]["position"]
        return position

    async def version_at(self, stream: str, moment: datetime) -> int:
        """Return the version that *stream* had at *moment*; 0 if it had no events yet."""
        check_text("a stream", stream)
        check_moment(moment)
        rows = await self._fetch(statements.VERSION_AT, stream, moment)
        version: int
        version, is_deleted = rows[0]
        if is_deleted:
            raise StreamDeleted(stream)
        return version


def _page(rows: Sequence[Any]) -> tuple[int, list[StoredEvent]]:
    """Return the head that *rows* begin with, and their events."""
    head: int = rows[0]["head"]
    return head, records_behind_first(rows) if rows[0]["position"] is not None else []
