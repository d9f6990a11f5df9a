"""A store and a codec: domain events in and out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, cast
from uuid import UUID

import attrs

from framework.codec import Codec
from framework.errors import CodecError, InvalidRequest
from framework.evolution import EventTypes
from framework.messages import Recorded
from framework.selection import Selection
from framework.store.protocol import Appended, EventStore, NewEvent, Receipt, StoredEvent, StreamWrite

# As `Recorded` makes itself, but in C.
_recorded: Callable[[tuple[Any, ...]], Recorded[Any]] = partial(cast("Any", tuple).__new__, Recorded)


@attrs.frozen
class Unreadable:
    """An event that cannot be read as what it should be; what becomes of it is for whoever meets it to decide."""

    stored: StoredEvent
    error: CodecError

    @property
    def type(self) -> str:
        """The name it is stored under."""
        return self.stored.type

    @property
    def stream(self) -> str:
        """The stream it is in."""
        return self.stored.stream

    @property
    def position(self) -> int:
        """Its place in the log."""
        return self.stored.position


Item: TypeAlias = Recorded[Any] | Unreadable
"""An event as a reader of the log meets it."""


@attrs.frozen
class Page:
    """Some events of the log, and how far was looked for them."""

    events: Sequence[Item]
    looked_to: int
    """Everything wanted up to this position is in the page."""
    head: int
    """The last position of the log as the page was read."""


class Journal:
    """Speaks domain events to a store that speaks records."""

    def __init__(self, store: EventStore, codec: Codec, types: EventTypes) -> None:
        self.store = store
        self.codec = codec
        self.types = types

    def encode(
        self,
        event: object,
        *,
        event_id: UUID,
        metadata: bytes,
        correlation_id: UUID,
        causation_id: UUID,
    ) -> NewEvent:
        """Return *event* ready to be appended; raises `UnencodableValue`."""
        name, version = self.types.name_of(type(event))
        return NewEvent(event_id, name, version, self.codec.encode(event), metadata, correlation_id, causation_id)

    async def append(
        self, stream: str, expected: int, events: Sequence[NewEvent], receipts: Sequence[Receipt] = ()
    ) -> Appended:
        """Record *events* at the end of *stream* together with *receipts*; raises as `EventLog.append` does."""
        (appended,) = await self.store.append((StreamWrite(stream, expected, events),), receipts)
        return appended

    async def read_stream(
        self, stream: str, *, after: int = 0, until: int | None = None, limit: int = 1_000
    ) -> Sequence[StoredEvent]:
        """Return at most *limit* records of *stream*, for `decode`."""
        return await self.store.read_stream(stream, after=after, until=until, limit=limit)

    async def read_log(self, *, after: int, limit: int, selection: Selection) -> Page:
        """Return at most *limit* events of *selection* with positions above *after*, and how far was looked."""
        page = await self.store.read_log(
            after=after, limit=limit, types=selection.types, prefix=selection.common_prefix
        )
        events = [self._item(stored) for stored in page.events if selection.wants(stored.type, stored.stream)]
        return Page(events, page.looked_to, page.head)

    async def read_at(self, position: int) -> Item:
        """Return the event at *position*; raises `InvalidRequest` if the log has none there."""
        page = await self.store.read_log(after=position - 1, limit=1)
        if not page.events or page.events[0].position != position:
            raise InvalidRequest(f"the log has no event at position {position}")
        return self._item(page.events[0])

    async def receipts(self, command_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """Return the receipts there are for *command_ids*."""
        return await self.store.receipts(command_ids)

    def decode(self, stored: StoredEvent) -> Any:
        """Return the event that *stored* holds; raises `UnknownEventType` or `UndecodablePayload`."""
        cls: type[Any] = self.types.class_of(stored.type, stored.type_version, stored.stream, stored.version)
        return self.codec.decode(cls, stored.data)

    def _item(self, stored: StoredEvent) -> Item:
        try:
            return self.record(stored)
        except CodecError as error:
            return Unreadable(stored, error)

    def record(self, stored: StoredEvent) -> Recorded[Any]:
        """Return the event that *stored* holds with all that is known about it."""
        # By place and not by name: this is done for every event that anybody reads.
        position, stream, version, event_id, name, type_version, data, metadata, correlation, causation, at = stored
        cls: type[Any] = self.types.class_of(name, type_version, stream, version)
        return _recorded(
            (
                self.codec.decode(cls, data),
                event_id,
                name,
                type_version,
                stream,
                version,
                position,
                at,
                self.codec.decode_metadata(metadata),
                correlation,
                causation,
                False,  # not replaying
            )
        )
