"""A clock that a test moves by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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

    def now(self) -> datetime:
        """Return the moment the clock stands at, aware, in UTC."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move the clock *by* so much; back, where that is negative, as happens to real clocks."""
        self._now += by

    def new_id(self) -> UUID:
        """Return the next id: the first ends its first half in 1, and each is greater than the one before."""
        self._ids += 1
        # The counter stands where a version 7 has its milliseconds, so that these sort as real ones do.
        return UUID(int=self._ids << 80 | 0x7 << 76 | 0x2 << 62)
