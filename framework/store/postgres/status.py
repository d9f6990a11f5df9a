"""What an operator asks of a store: how far the log is, who holds its head, and what is on its way."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import attrs

from framework.store.postgres.statements import HEAD_SESSIONS

if TYPE_CHECKING:
    from framework.connections import Connection


@attrs.frozen
class Session:
    """A session of the database. What the role of the store may not see of it is None."""

    pid: int
    """Of its backend: what `pg_terminate_backend` takes."""
    application_name: str | None
    since: datetime | None
    """When its transaction began."""
    state: str | None
    query: str | None
    """What it runs, or ran last."""

    def __str__(self) -> str:
        name = f" of {self.application_name!r}" if self.application_name else ""
        since = f", in a transaction since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        return f"process {self.pid}{name}{since}"


@attrs.frozen
class LaneStatus:
    """One of the connections that appends go over, as long as no other store borrows it."""

    pid: int | None
    """Of its backend; None while it has no connection."""
    sending: int
    """Appends on their way over it."""
    trouble: str | None
    """Why they have not arrived yet, if something stands in the way."""


@attrs.frozen
class Status:
    """A store at one moment."""

    log_id: UUID
    head: int
    """The last position of the log."""
    holder: Session | None
    """Who can append at this moment, or keeps everyone from it."""
    waiting: tuple[Session, ...]
    """Who waits for the holder, of all nodes."""
    lanes: tuple[LaneStatus, ...]
    queued: int
    """Appends of this store that wait for a lane."""
    readers: int
    """Connections of this store that reads go over, open ones."""
    idle_readers: int
    waiting_readers: int
    """Reads that wait for one of them: while there are any, more time is spent waiting than reading."""


async def head_sessions(connection: Connection) -> tuple[Session | None, tuple[Session, ...]]:
    """Return who holds the head, and who waits for it."""
    rows = await connection.fetch(HEAD_SESSIONS)
    holder = next((Session(*row[1:]) for row in rows if row[0]), None)
    return holder, tuple(Session(*row[1:]) for row in rows if not row[0])
