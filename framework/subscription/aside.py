"""Which keys of a slot are held back, because an event of theirs is parked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from framework.clock import now
from framework.store.subscriptions import DISCARD, RETRY, ParkedEvent
from framework.subscription.failure import Failure


class Aside:
    """What a slot has set aside, as far as it must be remembered while events are delivered."""

    def __init__(self, name: str, parked: Iterable[ParkedEvent]) -> None:
        self._name = name
        self._held_back = Counter(event.key for event in parked)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is set aside."""
        return not self._held_back

    @property
    def keys(self) -> int:
        """How many keys are held back."""
        return len(self._held_back)

    def holds_back(self, key: str) -> bool:
        """Say whether an earlier event of *key* is parked."""
        return key in self._held_back

    def row(self, position: int, key: str, failure: Failure | None = None) -> ParkedEvent:
        """Return the event at *position* as it is set aside: for its own *failure*, or behind one of its *key*."""
        error, attempts = (failure.text, failure.attempts) if failure else (None, 0)
        return ParkedEvent(self._name, position, key, error, attempts, now())

    def remember(self, event: ParkedEvent) -> None:
        """Note that *event* is set aside."""
        self._held_back[event.key] += 1

    def forget(self, event: ParkedEvent) -> None:
        """Note that *event* is not set aside any more."""
        self._held_back[event.key] -= 1
        if not self._held_back[event.key]:
            del self._held_back[event.key]


def asked_for(parked: Sequence[ParkedEvent]) -> list[list[ParkedEvent]]:
    """Return what somebody has asked for: for each key the events from its first on, in order, as far as that goes.

    The first of a key must be gone before the next can be tried, so what is asked of a later one waits.
    """
    by_key: dict[str, list[ParkedEvent]] = {}
    for event in parked:
        by_key.setdefault(event.key, []).append(event)
    return [events for events in by_key.values() if events[0].asked in {RETRY, DISCARD}]
