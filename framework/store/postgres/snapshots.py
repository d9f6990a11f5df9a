"""Snapshots of states, in a table beside the log."""

from __future__ import annotations

from framework.errors import InvalidRequest, StreamDeleted, WrongExpectedVersion
from framework.store.postgres import statements
from framework.store.postgres.asking import Asking
from framework.store.protocol import Snapshot
from framework.store.validation import HIGHEST, check_snapshot, check_text, within


class SnapshotTable(Asking):
    """`framework.store.protocol.Snapshots` over a table."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep *snapshot*, in the place of the one there may be of that type, shape and version."""
        check_snapshot(snapshot)
        try:
            saved = await self._fetch(statements.SAVE_SNAPSHOT, *snapshot)
        except InvalidRequest as error:
            raise InvalidRequest(f"{snapshot.stream}: the state at version {snapshot.version} {error}") from error
        if not saved:
            rows = await self._fetch(statements.STREAM_INFO, snapshot.stream)
            if rows and rows[0]["deleted_at"]:
                raise StreamDeleted(snapshot.stream)
            wanted = f"version {snapshot.version} or a later one"
            raise WrongExpectedVersion(snapshot.stream, wanted, rows[0]["version"] if rows else 0)

    async def load_snapshot(
        self, stream: str, state_type: str, state_version: int, *, until: int | None = None
    ) -> Snapshot | None:
        """Return the latest snapshot of that type and shape, at most at version *until*; None if there is none."""
        check_text("a stream", stream)
        check_text("a type of state", state_type)
        last = HIGHEST if until is None else within(until)
        rows = await self._fetch(statements.LOAD_SNAPSHOT, stream, state_type, within(state_version), last)
        return Snapshot(*rows[0]) if rows else None

    async def delete_snapshots(self, stream: str, *, until: int | None = None) -> None:
        """Forget the snapshots of *stream*, those of versions up to *until* if it is given."""
        check_text("a stream", stream)
        await self._fetch(statements.DELETE_SNAPSHOTS, stream, HIGHEST if until is None else within(until))
