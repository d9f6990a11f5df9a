"""The audit of commands, in a table beside the log."""

from __future__ import annotations

from collections.abc import Sequence

from framework.store.postgres import statements
from framework.store.postgres.asking import Asking
from framework.store.protocol import AuditedCommand, AuditedOutcome, AuditEntry


class AuditTable(Asking):
    """`framework.store.protocol.CommandAudit` over a table."""

    async def open_audit(self, command: AuditedCommand) -> int:
        """Write down *command*, durably, and return the number of its entry."""
        ((number,),) = await self._fetch(statements.OPEN_AUDIT, *command)
        return int(number)

    async def close_audit(self, number: int, outcome: AuditedOutcome) -> None:
        """Add what became of the command of entry *number*."""
        await self._fetch(statements.CLOSE_AUDIT, number, *outcome)

    async def audited(self, *, after: int = 0, limit: int = 1_000) -> Sequence[AuditEntry]:
        """Return at most *limit* entries with numbers above *after*, in order."""
        return [
            AuditEntry(
                row["number"],
                row["asked_at"],
                AuditedCommand(*row[2:8]),
                row["answered_at"],
                AuditedOutcome(*row[9:]) if row["outcome"] else None,
            )
            for row in await self._fetch(statements.AUDITED, after, limit)
        ]
