"""Appends that are decided while nobody else can append: for who has lost to others too often.

Whoever wins at a stream sends its next append before a loser has read what it missed, and so can win for ever. At the
head row everyone waits in line: who decides behind it, and not before, is beaten by nobody. It costs all the others the
time of a read and of a decision, which is why it is the exception.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg
import attrs

from framework.errors import StorageUnavailable
from framework.policies import HEAD_WAIT_SECONDS
from framework.store.postgres.reading import open_stream, records_behind_first
from framework.store.postgres.statements import HOLD_HEAD, READ_STREAMS
from framework.store.postgres.transaction import GRACE, JoinedTransaction, Surroundings, joining
from framework.store.protocol import Appended, Decide, StoredEvent
from framework.store.validation import HIGHEST

TURN_AT_MOST: Final = timedelta(seconds=1)
"""How long one turn may keep the others waiting; after that it is undone."""


async def append_in_turn(
    after: Mapping[str, int], decide: Decide, store: Surroundings, heard: Callable[[int], None]
) -> tuple[Appended, ...]:
    """Record what *decide* makes of the streams in *after*; see `EventLog.append_in_turn`."""
    store = attrs.evolve(store, hold_at_most=min(store.hold_at_most, TURN_AT_MOST))
    joined: JoinedTransaction | None = None
    places: tuple[Appended, ...] = ()
    try:
        async with store.transaction() as connection, joining(connection, store) as joined:
            await _hold_head(connection, store.hold_at_most)
            joined.begin_to_hold()
            # A statement of its own, after the lock: it sees all that was committed before.
            writes, receipts = decide(await _read(connection, after))
            if writes or receipts:
                places = await joined.append(writes, receipts)
    except StorageUnavailable as error:
        # The connection may have been lost with COMMIT on its way.
        if joined is None or joined.reached is None:
            raise
        if failure := await joined.failure(error):
            raise failure from error
    if joined.reached is not None:
        heard(joined.reached)
    return places


async def _hold_head(connection: Any, at_most: timedelta) -> None:
    limit_ms = round((at_most + GRACE) / timedelta(milliseconds=1))
    try:
        await connection.fetch(HOLD_HEAD, str(limit_ms), timeout=HEAD_WAIT_SECONDS)
    except (TimeoutError, asyncpg.QueryCanceledError) as error:
        raise StorageUnavailable(f"the log was held by somebody for {HEAD_WAIT_SECONDS:g} s") from error


async def _read(connection: Any, after: Mapping[str, int]) -> dict[str, Sequence[StoredEvent]]:
    rows = await connection.fetch(READ_STREAMS, list(after), list(after.values()), [HIGHEST] * len(after), HIGHEST)
    found: dict[str, list[StoredEvent]] = {stream: [] for stream in after}
    for event in records_behind_first(rows):
        found[event.stream].append(event)
    return {stream: open_stream(stream, events) for stream, events in found.items()}
