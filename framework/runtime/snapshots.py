"""Keeps states beside their streams, off the way of everybody who waits for an answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from framework.aggregate import Aggregate
from framework.clock import Clock
from framework.journal import Journal
from framework.observe import SNAPSHOT_FAILED, SNAPSHOT_TAKEN, log
from framework.policies import SnapshotEvery
from framework.router import Registration
from framework.store.protocol import Snapshot

WAITING_AT_MOST: Final = 1_000
"""States that wait to be saved: what is beyond them is offered again after its next command."""


class Folded(NamedTuple):
    """A state, and what of the log is folded into it."""

    state: Aggregate[Any, Any]
    version: int
    position: int
    """That of the last event."""
    snapshot: int = 0
    """The version of the snapshot it began with."""


class Snapshots:
    """Saves the states it is offered, one after another."""

    def __init__(
        self, journal: Journal, clock: Clock, begin: Callable[[Callable[[], Coroutine[Any, Any, None]]], object]
    ) -> None:
        """*begin* starts a task for what it is given."""
        self._journal = journal
        self._clock = clock
        self._waiting: dict[str, tuple[Registration, SnapshotEvery, Folded]] = {}
        """By stream, the longest waiting first; a later state takes the place of an earlier one."""
        self._begin = begin
        self._is_running = False

    def offer(self, stream: str, registration: Registration, every: SnapshotEvery, folded: Folded) -> bool:
        """Take *folded*, which is committed, to be saved some time soon; False if too many wait for that."""
        if len(self._waiting) >= WAITING_AT_MOST and stream not in self._waiting:
            return False
        self._waiting[stream] = registration, every, folded
        if not self._is_running:
            self._is_running = True
            self._begin(self._run)
        return True

    async def _run(self) -> None:
        """Save what is offered. What fails is logged and forgotten: a snapshot is never needed."""
        while self._waiting:
            stream = next(iter(self._waiting))
            registration, every, folded = self._waiting.pop(stream)
            try:
                await self.save(stream, registration, every, folded)
            except Exception as error:  # noqa: BLE001 - the next one may be saved
                log.warning(SNAPSHOT_FAILED, stream=stream, version=folded.version, error=repr(error))
        self._is_running = False  # no `await` since the look

    async def save(self, stream: str, registration: Registration, every: SnapshotEvery, folded: Folded) -> None:
        """Save *folded* now; raises `UnencodableValue`, and as `Snapshots.save_snapshot` of the store does."""
        state = self._journal.codec.encode(folded.state)
        taken_at = self._clock.now()
        snapshot = Snapshot(stream, folded.version, registration.state_type, every.version, state, taken_at)
        await self._journal.store.save_snapshot(snapshot)
        log.debug(SNAPSHOT_TAKEN, stream=stream, version=folded.version)
