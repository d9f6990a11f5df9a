"""A store and a codec: domain events in and out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
    may_be: frozenset[str] = frozenset()
    """The names of today of what it should be one of."""

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


@attrs.frozen
class Several:
    """What one stored event is today, where that is more than one: handled, parked and waited for as one."""

    pieces: Sequence[Recorded[Any]]
    """Two or more, in their order; they share all but what they are of."""

    @property
    def stream(self) -> str:
        """The stream it is in."""
        return self.pieces[0].stream

    @property
    def position(self) -> int:
        """Its place in the log."""
        return self.pieces[0].position


Item: TypeAlias = Recorded[Any] | Several | Unreadable
"""A stored event as a reader of the log meets it."""


def wanted(item: Item, selection: Selection) -> Item | None:
    """Return *item*, or what of it *selection* wants; None if that is nothing.

    One that cannot be read is wanted by whoever may have wanted what it should be.
    """
    match item:
        case Unreadable():
            types = selection.types
            is_wanted = types is None or not types.isdisjoint(item.may_be)
            return item if is_wanted and selection.wants_stream(item.stream) else None
        case Several():
            return _together([piece for piece in item.pieces if selection.wants(piece.type, piece.stream)])
        case _:
            return item if selection.wants(item.type, item.stream) else None


def pieces(items: Iterable[Item]) -> Iterator[Recorded[Any]]:
    """Yield the events of *items* one by one; raises, at one that could not be read, why it could not."""
    for item in items:
        match item:
            case Unreadable():
                raise item.error
            case Several():
                yield from item.pieces
            case _:
                yield item


def _together(found: Sequence[Recorded[Any]]) -> Recorded[Any] | Several | None:
    if len(found) > 1:
        return Several(found)
    return found[0] if found else None


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
        types = None if selection.types is None else self.types.stored_as(selection.types)
        page = await self.store.read_log(after=after, limit=limit, types=types, prefix=selection.common_prefix)
        return Page(self._items(page.events, selection), page.looked_to, page.head)

    async def read_at(self, position: int, selection: Selection) -> Item | None:
        """Return what of the event at *position* is of *selection* today, None for nothing; one that cannot be read is.

        Raises `InvalidRequest` if the log has no event there.
        """
        page = await self.store.read_log(after=position - 1, limit=1)
        if not page.events or page.events[0].position != position:
            raise InvalidRequest(f"the log has no event at position {position}")
        item = self._item(page.events[0])
        return item if item is None or isinstance(item, Unreadable) else wanted(item, selection)

    async def receipts(self, command_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """Return the receipts there are for *command_ids*."""
        return await self.store.receipts(command_ids)

    def events(self, stored: Iterable[StoredEvent]) -> Iterator[Any]:
        """Yield the events that *stored* hold, in the form of today.

        Raises, at one that cannot be read, `UnknownEventType`, `UpcastFailed` or `UndecodablePayload`.
        """
        current, decode = self.types.current, self.codec.decode
        for each in stored:
            cls: type[Any] | None = current(each.type, each.type_version)
            if cls is None:
                yield from (piece.data for piece in self._upcast(each))
            else:
                yield decode(cls, each.data)

    def record(self, stored: StoredEvent) -> Recorded[Any] | Several | None:
        """Return what *stored* holds, in the form of today, with all that is known about it; raises as `events`."""
        # By place and not by name: this is done for every event that anybody reads.
        position, stream, version, event_id, name, type_version, data, metadata, correlation, causation, at = stored
        cls: type[Any] | None = self.types.current(name, type_version)
        if cls is None:
            return _together(self._upcast(stored))
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

    def _items(self, stored: Iterable[StoredEvent], selection: Selection) -> Sequence[Item]:
        """Return what of *stored* is of *selection*."""
        items: list[Item] = []
        types, stream = selection.types, selection.stream
        for each in stored:
            if stream is not None and each.stream != stream:
                continue  # the store has gone by how the names of streams begin
            item = self._item(each)
            if isinstance(item, Recorded):  # nearly all are, and this is done for every one of them
                if types is None or item.type in types:
                    items.append(item)
            elif item is not None and (part := wanted(item, selection)) is not None:
                items.append(part)
        return items

    def _item(self, stored: StoredEvent) -> Item | None:
        try:
            return self.record(stored)
        except CodecError as error:
            return Unreadable(stored, error, self.types.may_be(stored.type))

    def _upcast(self, stored: StoredEvent) -> list[Recorded[Any]]:
        """Return what *stored*, which is of another time, is today."""
        present = self.types.upcast(
            stored.type,
            stored.type_version,
            self.codec.decode_plain(stored.data),
            self.codec.decode_metadata(stored.metadata),
            f"{stored.stream} version {stored.version}",
        )
        return [
            Recorded(
                data=self.codec.decode_from(piece.cls, piece.data),
                event_id=stored.event_id,
                type=piece.name,
                type_version=piece.version,
                stream=stored.stream,
                version=stored.version,
                position=stored.position,
                recorded_at=stored.recorded_at,
                metadata=piece.metadata,
                correlation_id=stored.correlation_id,
                causation_id=stored.causation_id,
            )
            for piece in present
        ]
