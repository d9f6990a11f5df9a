"""A clock that a test moves by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID


class ManualClock:
    """A `Clock` that stands still until told otherwise, and gives the same ids in every run."""

    def __init__(self, start: datetime = datetime(2000, 1, 1, tzinfo=UTC)) -> None:
        """Stand at *start*, which must be aware."""
        if start.utcoffset() is None:
            message = f"a clock starts at an aware moment, not at {start!r}"
            raise ValueError(message)
        self._now = start.astimezone(UTC)
        self._ids = 0
        self._alarms: dict[int, tuple[datetime, Callable[[], None]]] = {}
        self._numbers = count()

    def now(self) -> datetime:
        """Return the moment the clock stands at, aware, in UTC."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move the clock *by* so much; back, where that is negative, as happens to real clocks."""
        self._now += by
        due = [number for number, (moment, _) in self._alarms.items() if moment <= self._now]
        for number in sorted(due, key=lambda number: self._alarms[number][0]):
            _, ring = self._alarms.pop(number)
            ring()

    def alarm(self, moment: datetime, ring: Callable[[], None]) -> Callable[[], None]:
        """Call *ring* when the clock has been moved to *moment*, at once if it stands there already."""
        if moment <= self._now:
            ring()
            return lambda: None
        number = next(self._numbers)
        self._alarms[number] = moment, ring

        def withdraw() -> None:
            self._alarms.pop(number, None)

        return withdraw

    def new_id(self) -> UUID:
        """Return the next id: the first ends its first half in 1, and each is greater than the one before."""
        self._ids += 1
        # The counter stands where a version 7 has its milliseconds, so that these sort as real ones do.
        return UUID(int=self._ids << 80 | 0x7 << 76 | 0x2 << 62)
