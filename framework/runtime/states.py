"""States from the log: an aggregate as it is or was, from the latest snapshot there is and the events after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from framework.errors import CodecError
from framework.journal import Journal
from framework.observe import SNAPSHOT_PASSED_OVER, log
from framework.policies import SnapshotEvery
from framework.router import Registration
from framework.runtime.snapshots import Folded, Snapshots
from framework.store.protocol import Snapshot, StoredEvent


class States:
    """Folds streams, a page at a time."""

    def __init__(self, journal: Journal, page: int, snapshots: Snapshots) -> None:
        self.snapshots = snapshots
        """Where to leave a state for those who load it later."""
        self._journal = journal
        self._page = page

    async def load(self, stream: str, registration: Registration, *, until: int | None = None) -> Folded:
        """Return the state of *stream*, as it is or as it was at the version *until*.

        A snapshot that cannot be used is passed over: the log has it all.
        """
        if registration.snapshots is not None:
            folded = await self._shortened(stream, registration, registration.snapshots, until)
            if folded is not None:
                return folded
        return await self.follow(stream, Folded(registration.initial, 0, 0), until=until)

    async def follow(self, stream: str, folded: Folded, *, until: int | None = None) -> Folded:
        """Return *folded* with what the log holds beyond it, at most up to the version *until*."""
        while True:
            stored = await self._read(stream, folded.version, until)
            folded = self.fold(folded, stored)
            if len(stored) < self._page:
                return folded
            # A store that answers at once would let nobody else run before the last page.
            await asyncio.sleep(0)

    def fold(self, folded: Folded, stored: Sequence[StoredEvent]) -> Folded:
        """Return *folded* with the events *stored*, which come right after it."""
        if not stored:
            return folded
        state = folded.state.fold(self._journal.events(stored))
        return folded._replace(state=state, version=stored[-1].version, position=stored[-1].position)

    async def _shortened(
        self, stream: str, registration: Registration, every: SnapshotEvery, until: int | None
    ) -> Folded | None:
        """Return the state from a snapshot on; None if there is none that can be used."""
        snapshot = await self._journal.store.load_snapshot(stream, registration.state_type, every.version, until=until)
        if snapshot is None:
            return None
        try:
            state = self._journal.codec.decode_exactly(registration.aggregate, snapshot.state)
        except CodecError as error:
            _pass_over(snapshot, str(error))
            return None
        # With the event that it was taken at: it has the position, and shows that the stream has come so far.
        stored = await self._read(stream, snapshot.version - 1, until)
        if not stored or stored[0].version != snapshot.version:
            _pass_over(snapshot, "the stream has not come so far")
            return None
        start = Folded(state, snapshot.version, stored[0].position, snapshot.version)
        folded = self.fold(start, stored[1:])
        return folded if len(stored) < self._page else await self.follow(stream, folded, until=until)

    async def _read(self, stream: str, after: int, until: int | None) -> Sequence[StoredEvent]:
        return await self._journal.read_stream(stream, after=after, until=until, limit=self._page)


def _pass_over(snapshot: Snapshot, reason: str) -> None:
    log.warning(SNAPSHOT_PASSED_OVER, stream=snapshot.stream, version=snapshot.version, reason=reason)
