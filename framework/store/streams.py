"""Streams as things with a name: what is known of one, all of them listed, and one closed for good."""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import attrs

from framework.errors import InvalidRequest


class StreamInfo(NamedTuple):
    """What is known of a stream."""

    stream: str
    version: int
    """The version of its last event: how many it has."""
    first_position: int
    last_position: int
    created_at: datetime
    """When its first event was recorded."""
    changed_at: datetime
    """When its last event was recorded."""
    deleted_at: datetime | None
    """When it was closed for good; None while it is open."""


class StreamOrder(enum.Enum):
    """What streams are listed by."""

    NAME = "name"
    """Their names, by code point."""
    CREATED = "created"
    """The positions of their first events."""
    CHANGED = "changed"
    """The positions of their last events."""
    EVENTS = "events"
    """How many events they have; those of equal number by name."""


@attrs.frozen
class StreamPage:
    """Some streams, and where to go on."""

    streams: Sequence[StreamInfo]
    next: str | None
    """The cursor of the page after this one; None where there is none."""


class Streams(Protocol):
    """The streams of a log."""

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """Return what is known of *stream*, deleted or not; None if nobody wrote to it."""
        ...

    async def list_streams(
        self,
        *,
        order: StreamOrder = StreamOrder.NAME,
        descending: bool = False,
        search: str = "",
        cursor: str | None = None,
        limit: int = 100,
    ) -> StreamPage:
        """Return the streams whose names contain *search*, to the letter, at most *limit* of them.

        Deleted ones are among them. *cursor* is the `next` of the page before, asked for in the same order; raises
        `InvalidRequest` for any other. What is written between two pages may move a stream from one to the other.
        """
        ...

    async def delete_stream(self, stream: str, expected: int) -> StreamInfo:
        """Close *stream* for good, and return what is known of it.

        From then on it can be neither read nor written; its events stay in the log, its snapshots are gone. An append
        at the same time is recorded before, or refused. To delete it again changes nothing, and answers alike.

        Raises `WrongExpectedVersion` where the stream is not at *expected*, or has no events; and `OutcomeUnknown`
        where the answer was lost: it may be deleted or not, and tells when it is deleted again.
        """
        ...


# Cursors ------------------------------------------------------------------------------------------------


class Cursor(NamedTuple):
    """Where a page of streams ended: behind the stream with this key, which is unique with its name."""

    key: int
    """What the stream is listed by, where that is a number."""
    stream: str

    def written(self, order: StreamOrder, *, descending: bool) -> str:
        """Return the cursor as text to be handed back."""
        document = json.dumps([order.value, descending, *self])
        return base64.urlsafe_b64encode(document.encode()).decode()

    @classmethod
    def read(cls, text: str, order: StreamOrder, *, descending: bool) -> Cursor:
        """Return the cursor that was written for that order; raises `InvalidRequest` for anything else."""
        try:
            document: Any = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
            match document:
                case [order.value, bool(direction), int(key), str(stream)] if direction is descending:
                    return cls(key, stream)
                case _:
                    pass
        except ValueError:
            pass
        way = "descending" if descending else "ascending"
        raise InvalidRequest(f"cursor {text!r} is of no page of streams by {order.value}, {way}: begin without one")


def place_of(info: StreamInfo, order: StreamOrder) -> Cursor:
    """Return the place of a stream among those listed in *order*."""
    match order:
        case StreamOrder.NAME:
            return Cursor(0, info.stream)
        case StreamOrder.CREATED:
            return Cursor(info.first_position, info.stream)
        case StreamOrder.CHANGED:
            return Cursor(info.last_position, info.stream)
        case StreamOrder.EVENTS:
            return Cursor(info.version, info.stream)
