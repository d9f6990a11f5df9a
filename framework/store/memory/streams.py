"""The streams of a log in memory: found, listed, closed; and the snapshots beside them."""

from __future__ import annotations

from framework.errors import InvalidRequest, StreamDeleted, WrongExpectedVersion
from framework.store.documents import fault_of
from framework.store.memory.log import MemoryLog
from framework.store.protocol import Expected, Snapshot
from framework.store.streams import Cursor, StreamInfo, StreamOrder, StreamPage, place_of
from framework.store.validation import HIGHEST, check_expected, check_limit, check_name, check_snapshot, check_text


class MemoryStreams(MemoryLog):
    """`Streams` and `Snapshots` over the log."""

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """Return what is known of *stream*, deleted or not; None if nobody wrote to it."""
        check_text("a stream", stream)
        return self._info(stream) if stream in self._streams else None

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
        infos = [self._info(stream) for stream in self._streams if search in stream]
        infos.sort(key=lambda info: info.stream, reverse=descending and order is StreamOrder.NAME)
        infos.sort(key=lambda info: place_of(info, order).key, reverse=descending)
        if behind is not None:
            infos = [info for info in infos if _is_behind(place_of(info, order), behind, order, descending=descending)]
        more = len(infos) > limit
        next_ = place_of(infos[limit - 1], order).written(order, descending=descending) if more else None
        return StreamPage(infos[:limit], next_)

    async def delete_stream(self, stream: str, expected: int) -> StreamInfo:
        """Close *stream* for good, and return what is known of it."""
        check_name("a stream", stream)
        check_expected(stream, expected)
        version = len(self._streams.get(stream, ()))
        if not version or not Expected.is_met(expected, version):
            wanted = expected if version else Expected.STREAM_EXISTS
            raise WrongExpectedVersion(stream, Expected.describe(wanted), version)
        self._deleted.setdefault(stream, self._time())
        self._snapshots.pop(stream, None)
        return self._info(stream)

    def _info(self, stream: str) -> StreamInfo:
        events = self._streams[stream]
        first, last = events[0], events[-1]
        return StreamInfo(
            stream,
            last.version,
            first.position,
            last.position,
            first.recorded_at,
            last.recorded_at,
            self._deleted.get(stream),
        )

    # Snapshots --------------------------------------------------------------------------------------

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep *snapshot*, in the place of the one there may be of that type, shape and version."""
        check_snapshot(snapshot)
        if fault := fault_of(snapshot.state):
            raise InvalidRequest(f"{snapshot.stream}: the state at version {snapshot.version} {fault}")
        if snapshot.stream in self._deleted:
            raise StreamDeleted(snapshot.stream)
        version = len(self._streams.get(snapshot.stream, ()))
        if version < snapshot.version:
            raise WrongExpectedVersion(snapshot.stream, f"version {snapshot.version} or a later one", version)
        kept = self._snapshots.setdefault(snapshot.stream, {})
        kept[snapshot.version, snapshot.state_type, snapshot.state_version] = snapshot

    async def load_snapshot(
        self, stream: str, state_type: str, state_version: int, *, until: int | None = None
    ) -> Snapshot | None:
        """Return the latest snapshot of that type and shape, at most at version *until*; None if there is none."""
        check_text("a stream", stream)
        check_text("a type of state", state_type)
        last = HIGHEST if until is None else until
        fitting = (
            snapshot
            for snapshot in self._snapshots.get(stream, {}).values()
            if (snapshot.state_type, snapshot.state_version) == (state_type, state_version) and snapshot.version <= last
        )
        return max(fitting, key=lambda snapshot: snapshot.version, default=None)

    async def delete_snapshots(self, stream: str, *, until: int | None = None) -> None:
        """Forget the snapshots of *stream*, those of versions up to *until* if it is given."""
        check_text("a stream", stream)
        last = HIGHEST if until is None else until
        kept = self._snapshots.get(stream, {})
        self._snapshots[stream] = {key: snapshot for key, snapshot in kept.items() if snapshot.version > last}


def _is_behind(place: Cursor, cursor: Cursor, order: StreamOrder, *, descending: bool) -> bool:
    if order is StreamOrder.NAME:
        return place.stream < cursor.stream if descending else place.stream > cursor.stream
    if place.key != cursor.key:
        return place.key < cursor.key if descending else place.key > cursor.key
    return place.stream > cursor.stream
