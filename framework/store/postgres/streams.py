"""The streams of a log, found in the events themselves: an append keeps no second table in step.

Each statement looks at a bounded part of the log or of the names, so that a page that has to look far holds nothing
for long; it asks as often as it takes.
"""

from __future__ import annotations

from typing import Any, Final, assert_never

import asyncpg

from framework.connections import TROUBLE
from framework.errors import OutcomeUnknown, StorageUnavailable, WrongExpectedVersion
from framework.store.postgres import statements
from framework.store.postgres.asking import Asking
from framework.store.protocol import Expected
from framework.store.streams import Cursor, StreamInfo, StreamOrder, StreamPage, place_of
from framework.store.validation import HIGHEST, LONGEST_NAME, check_expected, check_limit, check_name, check_text

NAMES: Final = 5_000
"""Names that one statement looks at, at most."""

POSITIONS: Final = 20_000
"""Positions that one statement looks at, at most."""

CERTAIN: Final = (*TROUBLE, asyncpg.ReadOnlySQLTransactionError)
"""By these the database itself says that nothing was changed."""

BEYOND_ALL_NAMES: Final = "\U0010ffff" * (LONGEST_NAME // 4 + 1)
"""Sorts behind every name there can be."""


class StreamList(Asking):
    """`framework.store.streams.Streams` over the table of events."""

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """Return what is known of *stream*, deleted or not; None if nobody wrote to it."""
        check_text("a stream", stream)
        rows = await self._fetch(statements.STREAM_INFO, stream)
        return StreamInfo(*rows[0]) if rows else None

    async def list_streams(
        self,
        *,
        order: StreamOrder = StreamOrder.NAME,
        descending: bool = False,
        search: str = "",
        cursor: str | None = None,
        limit: int = 100,
    ) -> StreamPage:
        """Return the streams whose names contain *search*, to the letter, at most *limit* of them."""
        check_limit(limit)
        check_text("a search", search)
        behind = None if cursor is None else Cursor.read(cursor, order, descending=descending)
        # One more than asked for: it tells whether there is a next page.
        match order:
            case StreamOrder.NAME:
                found = await self._by_name(behind, search, limit + 1, descending=descending)
            case StreamOrder.EVENTS:
                found = await self._by_events(behind, search, limit + 1, descending=descending)
            case StreamOrder.CREATED | StreamOrder.CHANGED:
                found = await self._by_position(order, behind, search, limit + 1, descending=descending)
            case _:
                assert_never(order)
        more = len(found) > limit
        next_ = place_of(found[limit - 1], order).written(order, descending=descending) if more else None
        return StreamPage(found[:limit], next_)

    async def delete_stream(self, stream: str, expected: int) -> StreamInfo:
        """Close *stream* for good, and return what is known of it."""
        check_name("a stream", stream)
        check_expected(stream, expected)
        is_sent = False
        try:
            async with self._session() as connection:
                is_sent = True
                ((version, is_met),) = await connection.fetch(statements.DELETE_STREAM, stream, expected)
                rows = await connection.fetch(statements.STREAM_INFO, stream) if is_met else ()
        except StorageUnavailable as error:
            if is_sent and not isinstance(error.__cause__, CERTAIN):
                raise OutcomeUnknown(stream, None, deletion=True) from error
            raise
        if not rows:
            wanted = expected if version else Expected.STREAM_EXISTS
            raise WrongExpectedVersion(stream, Expected.describe(wanted), version)
        return StreamInfo(*rows[0])

    async def _by_name(self, behind: Cursor | None, search: str, limit: int, *, descending: bool) -> list[StreamInfo]:
        statement = statements.STREAMS_BY_NAME_DESCENDING if descending else statements.STREAMS_BY_NAME
        looked_to: str | None = behind.stream if behind else BEYOND_ALL_NAMES if descending else ""
        names = NAMES if search else limit
        found: list[StreamInfo] = []
        while looked_to is not None and len(found) < limit:
            rows = await self._fetch(statement, looked_to, names, search, limit - len(found))
            looked_to = rows[0]["looked_to"]
            found += _streams(rows)
        return found

    async def _by_events(self, behind: Cursor | None, search: str, limit: int, *, descending: bool) -> list[StreamInfo]:
        # How many events a stream has is not in any index: all names are looked at, and the first of each part kept.
        way = -1 if descending else 1
        key, name = behind or Cursor(HIGHEST if descending else 0, "")
        looked_to: str | None = ""
        found: list[StreamInfo] = []
        while looked_to is not None:
            rows = await self._fetch(statements.STREAMS_BY_EVENTS, looked_to, NAMES, search, limit, way, key, name)
            looked_to = rows[0]["looked_to"]
            found = sorted(found + _streams(rows), key=lambda info: (info.version * way, info.stream))[:limit]
        return found

    async def _by_position(
        self, order: StreamOrder, behind: Cursor | None, search: str, limit: int, *, descending: bool
    ) -> list[StreamInfo]:
        by_creation = order is StreamOrder.CREATED
        statement = statements.STREAMS_BY_CREATION if by_creation else statements.STREAMS_BY_CHANGE
        rows = await self._fetch(statements.HEAD)
        low, high = 0, rows[0]["position"]
        if behind and descending:
            high = min(high, behind.key - 1)
        elif behind:
            low = behind.key
        found: list[StreamInfo] = []
        while low < high and len(found) < limit:
            start = max(high - POSITIONS, low) if descending else low
            end = high if descending else min(low + POSITIONS, high)
            rows = await self._fetch(statement, start, end, search, limit - len(found), -1 if descending else 1)
            found += [StreamInfo(*row) for row in rows]
            low, high = (low, start) if descending else (end, high)
        return found


def _streams(rows: list[Any]) -> list[StreamInfo]:
    return [StreamInfo(*row[1:]) for row in rows if row["stream"] is not None]
