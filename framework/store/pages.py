"""Streams, the log, and lists of streams as one goes through them, read a page at a time.

Between two pages nothing is held, neither a connection nor a transaction: whoever goes through may take its time, stop
anywhere, or be cancelled. What is written meanwhile is met as far as it lies ahead.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from uuid import UUID

from framework.store.protocol import EventLog, History, StoredEvent
from framework.store.streams import StreamInfo, StreamOrder, Streams


async def stream_forward(
    store: EventLog, stream: str, *, after: int = 0, until: int | None = None, page: int = 1_000
) -> AsyncGenerator[StoredEvent, None]:
    """Yield the events of *stream* in order, those with `after < version <= until`; raises `StreamDeleted`."""
    while True:
        events = await store.read_stream(stream, after=after, until=until, limit=page)
        for event in events:
            yield event
        if len(events) < page:
            return
        after = events[-1].version


async def stream_backward(
    store: EventLog, stream: str, *, before: int | None = None, page: int = 1_000
) -> AsyncGenerator[StoredEvent, None]:
    """Yield the events of *stream* from its end down, or from below the version *before*; raises `StreamDeleted`."""
    while True:
        events = await store.read_stream_backward(stream, before=before, limit=page)
        for event in events:
            yield event
        if len(events) < page:
            return
        before = events[-1].version


async def log_forward(
    store: EventLog,
    *,
    after: int = 0,
    types: Collection[str] | None = None,
    prefix: str = "",
    page: int = 1_000,
) -> AsyncGenerator[StoredEvent, None]:
    """Yield the events above *after* in order, to the head: those of *types*, in streams that begin with *prefix*."""
    while True:
        found = await store.read_log(after=after, limit=page, types=types, prefix=prefix)
        for event in found.events:
            yield event
        if found.looked_to >= found.head:
            return
        after = found.looked_to


async def log_backward(
    store: EventLog,
    *,
    before: int | None = None,
    types: Collection[str] | None = None,
    prefix: str = "",
    page: int = 1_000,
) -> AsyncGenerator[StoredEvent, None]:
    """Yield the events below *before* from the last down: those of *types*, in streams that begin with *prefix*."""
    while True:
        found = await store.read_log_backward(before=before, limit=page, types=types, prefix=prefix)
        for event in found.events:
            yield event
        if found.looked_to <= 1:
            return
        before = found.looked_to


async def correlated(store: History, correlation_id: UUID, *, page: int = 1_000) -> AsyncGenerator[StoredEvent, None]:
    """Yield all that one first command led to, in the order of the log."""
    after = 0
    while True:
        events = await store.read_correlated(correlation_id, after=after, limit=page)
        for event in events:
            yield event
        if len(events) < page:
            return
        after = events[-1].position


async def streams(
    store: Streams,
    *,
    order: StreamOrder = StreamOrder.NAME,
    descending: bool = False,
    search: str = "",
    page: int = 1_000,
) -> AsyncGenerator[StreamInfo, None]:
    """Yield the streams whose names contain *search*, to the letter."""
    cursor: str | None = None
    while True:
        found = await store.list_streams(order=order, descending=descending, search=search, cursor=cursor, limit=page)
        for info in found.streams:
            yield info
        cursor = found.next
        if cursor is None:
            return
