"""The audit of commands in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from uuid import UUID

from framework.clock import Clock
from framework.store.protocol import AuditedCommand, AuditedOutcome, AuditEntry
from framework.store.validation import check_moment


class MemoryAudit:
    """`CommandAudit` over a dictionary."""

    def __init__(self, clock: Clock) -> None:
        self._audit_clock = clock
        self._entries: dict[int, AuditEntry] = {}
        self._last_entry = 0

    async def open_audit(self, command: AuditedCommand) -> int:
        """Write down *command*, and return the number of its entry."""
        self._last_entry += 1
        entry = AuditEntry(self._last_entry, self._audit_clock.now(), command, None, None)
        self._entries[entry.number] = entry
        return entry.number

    async def close_audit(self, number: int, outcome: AuditedOutcome) -> None:
        """Add what became of the command of entry *number*, unless that was forgotten."""
        if (entry := self._entries.get(number)) is not None:
            self._entries[number] = entry._replace(answered_at=self._audit_clock.now(), outcome=outcome)

    async def audited(self, *, after: int = 0, limit: int = 1_000, about: UUID | None = None) -> Sequence[AuditEntry]:
        """Return at most *limit* entries with numbers above *after*, in order, all or those *about* an id."""
        wanted = (
            entry
            for entry in self._entries.values()
            if entry.number > after and (about is None or about in entry.command[:2])
        )
        return list(islice(wanted, limit))

    async def prune_audit(self, before: datetime) -> int:
        """Forget the entries of commands that were asked for before that moment, and say how many."""
        check_moment(before)
        old = [entry.number for entry in self._entries.values() if entry.asked_at < before]
        for number in old:
            del self._entries[number]
        return len(old)
