"""What a process has of an aggregate: a state, and how much of the log is folded into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from framework.aggregate import Aggregate
from framework.errors import WrongExpectedVersion
from framework.router import Registration
from framework.runtime.snapshots import Folded
from framework.runtime.states import States
from framework.runtime.watch import Caller, Watch
from framework.store.protocol import StoredEvent


class Replica:
    """One aggregate's state, which only ever holds what is committed."""

    __slots__ = ("_saved", "_states", "position", "registration", "state", "stream", "version")

    def __init__(self, stream: str, registration: Registration, states: States) -> None:
        self.stream = stream
        self.registration = registration
        self.state: Aggregate[Any, Any] = registration.initial
        self.version: int = 0
        self.position: int = 0
        """That of the last event."""
        self._states = states
        self._saved: int = 0
        """The version of its latest snapshot, as far as it knows."""

    def forget(self) -> None:
        """Begin anew: the next `load` reads all there is."""
        self.state, self.version, self.position, self._saved = self.registration.initial, 0, 0, 0

    async def load(self, callers: Sequence[Caller], watch: Watch) -> None:
        """Take over what the log holds, which *callers* wait for."""
        with watch.rehydrating(self.registration.aggregate, self.stream, callers) as folded:
            found = await self._states.load(self.stream, self.registration)
            self.state, self.version, self.position, self._saved = found
            folded(self.version - self._saved)

    async def catch_up(self) -> bool:
        """Fold what the log holds beyond this state, and say whether there was anything."""
        before = Folded(self.state, self.version, self.position)
        folded = await self._states.follow(self.stream, before)
        self.state, self.version, self.position, _ = folded
        return folded is not before

    async def confirm(self) -> None:
        """Raise `WrongExpectedVersion` if the log holds more than this state."""
        before = self.version
        if await self.catch_up():
            raise WrongExpectedVersion(self.stream, f"version {before}", self.version)

    def fold(self, stored: Sequence[StoredEvent]) -> None:
        """Fold the events *stored*, which come right after it."""
        folded = self._states.fold(Folded(self.state, self.version, self.position), stored)
        self.state, self.version, self.position, _ = folded

    def offer_snapshot(self) -> None:
        """Leave the state for those who load it later, if it is time for that."""
        every = self.registration.snapshots
        if every is not None and self.version - self._saved >= every.events:
            folded = Folded(self.state, self.version, self.position)
            if self._states.snapshots.offer(self.stream, self.registration, every, folded):
                self._saved = self.version
