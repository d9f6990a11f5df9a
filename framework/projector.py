"""A projector: events folded into rows, each exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from framework.contracts import check_batch, takes_many
from framework.messages import Recorded
from framework.reactions import Reaction, Retry

E = TypeVar("E")


class Connection(Protocol):
    """What a projector may do with its database; asyncpg's connections and pool proxies satisfy it."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str: ...

    async def executemany(
        self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None: ...

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Any]: ...

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Any: ...

    async def fetchval(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any: ...

    def cursor(self, query: str, *args: Any, prefetch: int | None = None, timeout: float | None = None) -> Any: ...

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Any,
        columns: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> str: ...


class Projector(Generic[E]):
    """Keeps tables that answer questions about the events.

    Name the events in the base: `class Balances(Projector[AccountEvent])`, and define `project` or `project_batch`, one
    of them. Its rows and its place in the log are
    committed in one transaction, a batch of events at a time, so each event takes effect exactly once. It keeps nothing
    on `self`: a batch that fails is run again.
    """

    name: ClassVar[str] = ""
    """What its progress is stored under; the class name by default. Unique within a store."""
    version: ClassVar[int] = 1
    """Raise it when the tables or what is written to them change: the new version is filled from the first event."""
    partitions: ClassVar[int] = 1
    """How many slots it is cut into: they run at the same time, on as many nodes as there are."""
    revision: ClassVar[int] = 1
    """Raise it when `partitions` changes, and its slots are cut anew; an earlier one runs with as many as there are."""
    batch_size: ClassVar[int | None] = None
    """How many events are projected in one transaction at most; `Defaults.batch` unless given."""
    schema: ClassVar[str] = ""
    """The statements that create its tables, run once, in a schema of their own that is the whole search path."""
    is_batched: ClassVar[bool] = False
    """Whether it defines `project_batch`."""

    def __init_subclass__(cls, **options: object) -> None:
        """Raises `InvalidContract` for a class that does not define one form of the two."""
        super().__init_subclass__(**options)
        cls.is_batched = takes_many(cls, Projector, "project", "project_batch")
        check_batch(cls, cls.batch_size, timedelta(0))

    def partition_by(self, event: Recorded[E]) -> str:
        """Return the key of *event*: those of one key are projected in order, in one slot. Its stream by default."""
        return event.stream

    async def project(self, event: Recorded[E], db: Connection) -> None:
        """Write to *db* what *event* changes. The transaction is not yours to end: that halts the slot for good."""
        raise NotImplementedError

    async def project_batch(self, events: Sequence[Recorded[E]], db: Connection) -> None:
        """Write to *db* what *events*, which are not none, change: with one statement for all, say, or with COPY.

        What it writes must be what each of them by itself would have, in their order. If it fails, all is undone, and
        they come again in smaller and smaller batches until one is left that is at fault.
        """
        raise NotImplementedError

    async def committed(self, events: Sequence[Recorded[E]]) -> None:
        """Tell whoever wants to know, web sockets and caches say, that the rows of *events* are there to be read.

        Called after their transaction, at least once even after a crash, and never for those that are `replaying`. What
        it raises is logged; it is tried again as `Defaults.handler_retry` says, and then these events are let go.
        """

    def on_error(self, event: Recorded[E], error: Exception, attempt: int) -> Reaction:
        """Return what becomes of *event* after its attempt number *attempt*, from 1, ended in *error*.

        What the attempt wrote is undone. By default it is tried again, and parked when `Defaults.handler_retry` has no
        attempt left; see `EventHandler.on_error`.
        """
        del event, error, attempt
        return Retry()
