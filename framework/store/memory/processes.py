"""What processes keep, in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count
from uuid import UUID

from framework.store.memory.subscriptions import MemorySubscriptions
from framework.store.protocol import InstanceRow, OutboxRow, ProcessChange
from framework.store.subscriptions import Lease


class MemoryProcesses:
    """`ProcessStore` over dictionaries."""

    def __init__(self) -> None:
        self.subscriptions = MemorySubscriptions()
        self._instances: defaultdict[str, dict[str, InstanceRow]] = defaultdict(dict)
        self._outboxes: defaultdict[str, dict[UUID, OutboxRow]] = defaultdict(dict)
        """Each in the order of sending."""
        self._last_number = 0

    async def load_instances(self, process: str, instances: Collection[str]) -> Mapping[str, InstanceRow]:
        """Return the instances there are among *instances*."""
        rows = self._instances[process]
        return {instance: rows[instance] for instance in instances if instance in rows}

    async def advance_process(self, lease: Lease, change: ProcessChange, *, position: int) -> None:
        """Apply *change* and move the slot to *position*; raises `LeaseLost`."""
        await self.subscriptions.advance(lease, position)
        process = lease.name
        self._save_instances(process, change)
        outbox = self._outboxes[process]
        for row in change.commands:
            self._last_number += 1
            outbox[row.command_id] = row._replace(process=process, number=self._last_number, piece=0)

    async def outbox(self, process: str, *, limit: int) -> Sequence[OutboxRow]:
        """Return at most *limit* commands to send, oldest first."""
        held_back: set[str] = set()
        rows: list[OutboxRow] = []
        for row in self._outboxes[process].values():
            if len(rows) == limit:
                break
            if row.parked is not None:
                held_back.add(row.instance)
            elif row.instance not in held_back:
                rows.append(row)
        return rows

    async def parked(self, process: str) -> Sequence[OutboxRow]:
        """Return the parked commands, oldest first."""
        return [row for row in self._outboxes[process].values() if row.parked is not None]

    async def settle(self, process: str, command_ids: Collection[UUID]) -> None:
        """Remove commands that have had their answer from the outbox."""
        outbox = self._outboxes[process]
        for command_id in command_ids:
            outbox.pop(command_id, None)

    async def settle_refused(self, row: OutboxRow, change: ProcessChange) -> bool:
        """Put what a process made of a refused command in its place; False if it is settled already."""
        outbox = self._outboxes[row.process]
        if row.command_id not in outbox:
            return False
        self._save_instances(row.process, change)
        self._outboxes[row.process] = _replaced(outbox, row.command_id, change.commands)
        return True

    async def park(self, row: OutboxRow, reason: str) -> None:
        """Set *row* aside with the *reason*; later commands of its instance wait behind it."""
        outbox = self._outboxes[row.process]
        if (waiting := outbox.get(row.command_id)) is not None:
            outbox[row.command_id] = waiting._replace(parked=reason)

    def _save_instances(self, process: str, change: ProcessChange) -> None:
        rows = self._instances[process]
        for saved in change.saved:
            rows[saved.instance] = saved
        for instance in change.removed:
            rows.pop(instance, None)


def _replaced(outbox: Mapping[UUID, OutboxRow], refused: UUID, commands: Iterable[OutboxRow]) -> dict[UUID, OutboxRow]:
    """Return *outbox* with *commands* where *refused* was, and the pieces of its number counted anew."""
    place = outbox[refused]
    rows: list[OutboxRow] = []
    pieces = count(1)
    for row in outbox.values():
        if row.command_id == refused:
            rows += [new._replace(process=place.process, number=place.number, piece=next(pieces)) for new in commands]
        elif row.number == place.number:
            rows.append(row._replace(piece=next(pieces)))
        else:
            rows.append(row)
    return {row.command_id: row for row in rows}
