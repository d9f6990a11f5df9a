"""The audit of commands in memory."""

from __future__ import annotations

from collections.abc import Sequence

from framework.clock import Clock
from framework.store.protocol import AuditedCommand, AuditedOutcome, AuditEntry


class MemoryAudit:
    """`CommandAudit` over a list."""

    def __init__(self, clock: Clock) -> None:
        self._audit_clock = clock
        self._entries: list[AuditEntry] = []

    async def open_audit(self, command: AuditedCommand) -> int:
        """Write down *command*, and return the number of its entry."""
        entry = AuditEntry(len(self._entries) + 1, self._audit_clock.now(), command, None, None)
        self._entries.append(entry)
        return entry.number

    async def close_audit(self, number: int, outcome: AuditedOutcome) -> None:
        """Add what became of the command of entry *number*."""
        entry = self._entries[number - 1]
        self._entries[number - 1] = entry._replace(answered_at=self._audit_clock.now(), outcome=outcome)

    async def audited(self, *, after: int = 0, limit: int = 1_000) -> Sequence[AuditEntry]:
        """Return at most *limit* entries with numbers above *after*, in order."""
        return self._entries[after : after + limit]
