"""Which keys of a slot are held back, because an event of theirs is parked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from framework.clock import now
from framework.journal import Item
from framework.store.subscriptions import DISCARD, RETRY, ParkedEvent
from framework.subscription.failure import Failure, Halted


class Aside:
    """What a slot has set aside, as far as it must be remembered while events are delivered."""

    def __init__(self, name: str, key_of: Callable[[Item], str], parked: Iterable[ParkedEvent]) -> None:
        self._name = name
        self._key_of = key_of
        self._held_back = Counter(event.key for event in parked)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is set aside."""
        return not self._held_back

    @property
    def keys(self) -> int:
        """How many keys are held back."""
        return len(self._held_back)

    def holds_back(self, item: Item) -> bool:
        """Say whether an earlier event of the key of *item* is parked; raises `Halted` where its key cannot be told."""
        return bool(self._held_back) and self._key(item) in self._held_back

    def row(self, item: Item, failure: Failure | None = None) -> ParkedEvent:
        """Return *item* as it is set aside: for its own *failure*, or behind one of its key; raises as `holds_back`."""
        error, attempts = (failure.text, failure.attempts) if failure else (None, 0)
        return ParkedEvent(self._name, item.position, self._key(item), error, attempts, now())

    def remember(self, event: ParkedEvent) -> None:
        """Note that *event* is set aside."""
        self._held_back[event.key] += 1

    def forget(self, event: ParkedEvent) -> None:
        """Note that *event* is not set aside any more."""
        self._held_back[event.key] -= 1
        if not self._held_back[event.key]:
            del self._held_back[event.key]

    def _key(self, item: Item) -> str:
        try:
            return self._key_of(item)
        except Exception as error:
            # What it would hold back, nobody can say: the slot may not pass it.
            raise Halted(item.position) from error


def asked_for(parked: Sequence[ParkedEvent]) -> list[list[ParkedEvent]]:
    """Return what somebody has asked for: for each key the events from its first on, in order, as far as that goes.

    The first of a key must be gone before the next can be tried, so what is asked of a later one waits.
    """
    by_key: dict[str, list[ParkedEvent]] = {}
    for event in parked:
        by_key.setdefault(event.key, []).append(event)
    return [events for events in by_key.values() if events[0].asked in {RETRY, DISCARD}]
