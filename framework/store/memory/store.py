"""The reference store: a log in this process's memory, for tests and for what need not last."""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import UUID

from framework.clock import SYSTEM_CLOCK, Clock
from framework.store.health import StoreHealth
from framework.store.memory.audit import MemoryAudit
from framework.store.memory.processes import MemoryProcesses
from framework.store.memory.streams import MemoryStreams
from framework.store.validation import check_moment


class MemoryEventStore(MemoryStreams, MemoryProcesses, MemoryAudit):
    """An `EventStore` whose events last as long as it does.

    It may be entered again, and then holds what it held; whoever enters it while it is open shares it.
    Outside `async with` everything works but waiting.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        MemoryStreams.__init__(self, clock)
        MemoryProcesses.__init__(self, self._log, clock)
        MemoryAudit.__init__(self, clock)
        # Not from the given clock: a manual one would give every log of every test the same name.
        self._log_id = SYSTEM_CLOCK.new_id()

    @property
    def log_id(self) -> UUID:
        """Tells this log from every other."""
        return self._log_id

    @property
    def namespace(self) -> str:
        """What read models of this log are called by; unique, since the next process has another log."""
        return f"memory_{self._log_id.hex[-12:]}"

    @property
    def read_database(self) -> str | None:
        """None: there is no database here."""
        return None

    async def health(self) -> StoreHealth:
        """Return how far the log is: nothing else can be wrong with it."""
        return StoreHealth(len(self._log))

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._users -= 1
        if not self._users:
            self._wake()

    async def prune_receipts(self, before: datetime) -> int:
        """Forget the receipts written before that moment, and say how many; not those that a process still needs."""
        check_moment(before)
        needed = {command_id.int for outbox in self._outboxes.values() for command_id in outbox}
        old = [key for key, (_, at) in self._receipts.items() if at < before and key not in needed]
        for key in old:
            del self._receipts[key]
        return len(old)
