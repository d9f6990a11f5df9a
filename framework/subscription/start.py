"""Where a subscription begins when it first runs, or is begun anew."""

from __future__ import annotations

from datetime import datetime

from framework.errors import ConfigurationError
from framework.handler import StartFrom
from framework.store.protocol import EventStore


def start_as_text(start_from: StartFrom) -> str:
    """Return what is recorded of *start_from*."""
    return start_from.isoformat() if isinstance(start_from, datetime) else str(start_from)


async def start_position(name: str, start_from: StartFrom, store: EventStore) -> int:
    """Return the position that the subscription *name* begins behind.

    Raises `ConfigurationError` for one that the log has not come to: it would stand still without a word.
    """
    if start_from == "origin":
        return 0
    if isinstance(start_from, datetime):
        return await store.position_at(start_from)
    head = await store.head()
    if start_from == "now":
        return head
    if start_from > head:
        raise ConfigurationError(f"{name} is to start behind position {start_from}, and the log ends at {head}")
    return start_from
