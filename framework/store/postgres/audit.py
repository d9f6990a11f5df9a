"""The audit of commands, in a table beside the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from framework.store.postgres import statements
from framework.store.postgres.asking import Asking
from framework.store.protocol import AuditedCommand, AuditedOutcome, AuditEntry
from framework.store.validation import check_moment

PRUNED_AT_ONCE: Final = 10_000


class AuditTable(Asking):
    """`framework.store.protocol.CommandAudit` over a table."""

    async def open_audit(self, command: AuditedCommand) -> int:
        """Write down *command*, durably, and return the number of its entry."""
        ((number,),) = await self._fetch(statements.OPEN_AUDIT, *command)
        return int(number)

    async def close_audit(self, number: int, outcome: AuditedOutcome) -> None:
        """Add what became of the command of entry *number*, unless that was forgotten."""
        await self._fetch(statements.CLOSE_AUDIT, number, *outcome)

    async def audited(self, *, after: int = 0, limit: int = 1_000, about: UUID | None = None) -> Sequence[AuditEntry]:
        """Return at most *limit* entries with numbers above *after*, in order, all or those *about* an id."""
        rows = (
            await self._fetch(statements.AUDITED, after, limit)
            if about is None
            else await self._fetch(statements.AUDITED_ABOUT, after, limit, about)
        )
        return [
            AuditEntry(
                row["number"],
                row["asked_at"],
                AuditedCommand(*row[2:8]),
                row["answered_at"],
                AuditedOutcome(*row[9:]) if row["outcome"] else None,
            )
            for row in rows
        ]

    async def prune_audit(self, before: datetime) -> int:
        """Forget the entries of commands that were asked for before that moment, and say how many."""
        check_moment(before)
        pruned = 0
        while rows := await self._fetch(statements.PRUNE_AUDIT, before, PRUNED_AT_ONCE):
            pruned += len(rows)
        return pruned
