"""An event handler: a side effect for each event, at least once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import ClassVar, Generic, Literal, TypeAlias, TypeVar

from framework.messages import Recorded
from framework.reactions import Reaction, Retry

E = TypeVar("E")

StartFrom: TypeAlias = Literal["origin", "now"] | int | datetime
"""Where a handler begins: at the first event, or behind all that there are, behind a position, behind a moment."""


class EventHandler(ABC, Generic[E]):
    """Does something outside the database for each event: a mail, a call to another service.

    Name the events in the base: `class Alerts(EventHandler[MoneySent])`. Each event is handled at least once, in the
    order of the log; after a crash the last ones may come again, with the same `position` and `event_id` to tell.
    """

    name: ClassVar[str] = ""
    """What its progress is stored under; the class name by default. Unique within a store."""
    partitions: ClassVar[int] = 1
    """How many slots it is cut into: they run at the same time, on as many nodes as there are."""
    start_from: ClassVar[StartFrom] = "origin"
    """What it begins behind when it first runs; after that it goes on where it was."""
    stream: ClassVar[str | None] = None
    """The one stream whose events it handles, which need not be there yet; None for any."""
    prefix: ClassVar[str] = ""
    """What the names of the streams begin with whose events it handles."""

    def partition_by(self, event: Recorded[E]) -> str:
        """Return the key of *event*: those of one key are handled in order, in one slot. Its stream by default."""
        return event.stream

    @abstractmethod
    async def handle(self, event: Recorded[E]) -> None:
        """Do what *event* asks for. An exception means it was not done, and `on_error` says what follows."""

    def on_error(self, event: Recorded[E], error: Exception, attempt: int) -> Reaction:
        """Return what becomes of *event* after its attempt number *attempt*, from 1, ended in *error*.

        By default it is tried again, and parked when `Defaults.handler_retry` has no attempt left. A database that is
        away is never the event's fault: then nobody is asked, and the event waits.
        """
        del event, error, attempt
        return Retry()
