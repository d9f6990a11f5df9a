"""A projector: events folded into rows, each exactly once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

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


class Projector(ABC, Generic[E]):
    """Keeps tables that answer questions about the events.

    Name the events in the base: `class Balances(Projector[AccountEvent])`. Its rows and its place in the log are
    committed in one transaction, a batch of events at a time, so each event takes effect exactly once. It keeps nothing
    on `self`: a batch that fails is run again.
    """

    name: ClassVar[str] = ""
    """What its progress is stored under; the class name by default. Unique within a store."""
    version: ClassVar[int] = 1
    """Raise it when the tables or what is written to them change: the new version is filled from the first event."""
    partitions: ClassVar[int] = 1
    """How many slots it is cut into: they run at the same time, on as many nodes as there are."""
    schema: ClassVar[str] = ""
    """The statements that create its tables, run once, in a schema of their own that is the whole search path."""

    def partition_by(self, event: Recorded[E]) -> str:
        """Return the key of *event*: those of one key are projected in order, in one slot. Its stream by default."""
        return event.stream

    @abstractmethod
    async def project(self, event: Recorded[E], db: Connection) -> None:
        """Write to *db* what *event* changes. The transaction is not yours to end: that halts the slot for good."""

    def on_error(self, event: Recorded[E], error: Exception, attempt: int) -> Reaction:
        """Return what becomes of *event* after its attempt number *attempt*, from 1, ended in *error*.

        What the attempt wrote is undone. By default it is tried again, and parked when `Defaults.handler_retry` has no
        attempt left; see `EventHandler.on_error`.
        """
        del event, error, attempt
        return Retry()
