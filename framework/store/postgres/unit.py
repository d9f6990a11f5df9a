"""One caller's append: what is to be recorded all or nothing, and the answer to come."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence

import attrs

from framework.errors import AppendRefused, OutcomeUnknown, StorageUnavailable
from framework.store.protocol import Appended, Receipt, StreamWrite
from framework.store.validation import check_append


@attrs.define(eq=False)
class Unit:
    """One caller's append, all or nothing."""

    writes: Sequence[StreamWrite]
    receipts: Sequence[Receipt]
    answer: asyncio.Future[tuple[Appended, ...]]
    asked_at: float
    """When it came, by the loop's time."""
    due: float
    """When the caller is told that the database cannot be asked, by the loop's time."""
    events: int
    size: int
    """The bytes of its events."""
    is_in_doubt: bool = False
    """It was sent, and what became of it was not heard."""

    @classmethod
    def of(cls, writes: Sequence[StreamWrite], receipts: Sequence[Receipt], within_s: float = math.inf) -> Unit:
        """Return an append to be answered *within_s* seconds; raises for what no store takes."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        return cls(writes, receipts, loop.create_future(), now, now + within_s, *check_append(writes, receipts))

    @property
    def streams(self) -> Iterable[str]:
        """The streams it writes to."""
        return (write.stream for write in self.writes)

    def succeed(self, places: tuple[Appended, ...]) -> None:
        """Tell the caller where its events are."""
        if not self.answer.done():
            self.answer.set_result(places)

    def fail(self, error: Exception) -> None:
        """Tell the caller that nothing was recorded, or that this cannot be said."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # a caller cancelled in this very step will not look

    def give_up(self, reason: str) -> None:
        """Tell the caller that the database cannot be asked, unless there is an answer."""
        if not self.answer.done():
            self._fail_unless_in_doubt(StorageUnavailable(reason))

    def refuse(self, reason: str) -> None:
        """Tell the caller that the database takes exception to it."""
        self._fail_unless_in_doubt(AppendRefused(reason))

    def _fail_unless_in_doubt(self, error: Exception) -> None:
        if self.is_in_doubt:  # whatever is said now, it may have been recorded when it was sent before
            command_id = self.receipts[0].command_id if self.receipts else None
            error = OutcomeUnknown(", ".join(self.streams) or "receipts", command_id)
        self.fail(error)
