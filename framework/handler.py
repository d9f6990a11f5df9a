"""An event handler: a side effect for each event, at least once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar
from uuid import UUID

from framework.contracts import check_batch, takes_many
from framework.messages import DispatchResult, Metadata, Recorded
from framework.reactions import Reaction, Retry
from framework.store.subscriptions import OnChange

E = TypeVar("E")

StartFrom: TypeAlias = Literal["origin", "now"] | int | datetime
"""Where a handler begins: at the first event, or behind all that there are, behind a position, behind a moment."""


class Dispatch(Protocol):
    """Dispatches a command, as `Application.dispatch` does."""

    async def __call__(
        self,
        command: object,
        *,
        command_id: UUID | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        metadata: Metadata | None = None,
    ) -> DispatchResult: ...


class EventHandler(Generic[E]):
    """Does something outside the database for each event: a mail, a call to another service.

    Name the events in the base: `class Alerts(EventHandler[MoneySent])`, and define `handle` or `handle_batch`, one of
    them. Each event is handled at least once, in the order of the log; after a crash the last ones may come again, with
    the same `position` and `event_id` to tell.

    What it keeps on `self` is its own, for as long as its application is open; all slots that run here share it.
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
    revision: ClassVar[int] = 1
    """Raise it when what is recorded of it changes, its types say, and say `on_change`; see `SubscriptionChanged`."""
    on_change: ClassVar[OnChange] = "refuse"
    """What a higher revision does: go on where the one before was (`keep`), or begin anew at its start (`reset`)."""
    batch_size: ClassVar[int | None] = None
    """How many events `handle_batch` is given at most; `Defaults.batch` unless given."""
    batch_within: ClassVar[timedelta] = timedelta(0)
    """How long a batch that is not full waits for more from its first event on. Whoever waits for it waits as long."""
    is_batched: ClassVar[bool] = False
    """Whether it defines `handle_batch`."""

    def __init_subclass__(cls, **options: object) -> None:
        """Raises `InvalidContract` for a class that does not define one form of the two."""
        super().__init_subclass__(**options)
        cls.is_batched = takes_many(cls, EventHandler, "handle", "handle_batch")
        check_batch(cls, cls.batch_size, cls.batch_within)

    def partition_by(self, event: Recorded[E]) -> str:
        """Return the key of *event*: those of one key are handled in order, in one slot. Its stream by default."""
        return event.stream

    async def on_start(self, dispatch: Dispatch) -> None:
        """Prepare what it needs; *dispatch* is for later, and what it dispatches is caused by the event in hand.

        Called when its application opens, before its first event. If it raises, the application does not open.
        """

    async def on_stop(self) -> None:
        """Let go of what it needed. Called when its application closes, after its last event."""

    async def handle(self, event: Recorded[E]) -> None:
        """Do what *event* asks for. An exception means it was not done, and `on_error` says what follows.

        What is dispatched meanwhile is caused by *event*.
        """
        raise NotImplementedError

    async def handle_batch(self, events: Sequence[Recorded[E]]) -> int | None:
        """Do what *events*, which are not none, ask for; return how many were done, from the first, or None for all.

        Those that were not done come again at once. An exception means that none was done as far as is known: they come
        again in smaller and smaller batches until one is left that is at fault, and `on_error` says what follows. What
        is dispatched meanwhile is caused by the last of *events*, unless the dispatch says otherwise.
        """
        raise NotImplementedError

    def on_error(self, event: Recorded[E], error: Exception, attempt: int) -> Reaction:
        """Return what becomes of *event* after its attempt number *attempt*, from 1, ended in *error*.

        By default it is tried again, and parked when `Defaults.handler_retry` has no attempt left. A database that is
        away is never the event's fault: then nobody is asked, and the event waits.
        """
        del event, error, attempt
        return Retry()
