"""What processes keep, in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import count
from uuid import UUID

from framework.clock import Clock
from framework.store.memory.subscriptions import MemorySubscriptions
from framework.store.protocol import InstanceRow, OutboxRow, Part, Pending, ProcessChange, StoredEvent, TimerRow
from framework.store.subscriptions import Lease


class MemoryProcesses:
    """`ProcessStore` over dictionaries."""

    def __init__(self, log: Sequence[StoredEvent], clock: Clock) -> None:
        self.subscriptions = MemorySubscriptions(log, clock)
        self._instances: defaultdict[str, dict[str, InstanceRow]] = defaultdict(dict)
        self._asked_to_stop: defaultdict[str, set[str]] = defaultdict(set)
        self._outboxes: defaultdict[str, dict[UUID, OutboxRow]] = defaultdict(dict)
        """Each in the order of sending."""
        self._timers: defaultdict[str, dict[tuple[str, str], TimerRow]] = defaultdict(dict)
        """By instance and key."""
        self._last_number = 0

    async def load_instances(self, process: str, instances: Collection[str]) -> Mapping[str, InstanceRow]:
        """Return the instances there are among *instances*."""
        rows = self._instances[process]
        return {instance: rows[instance] for instance in instances if instance in rows}

    async def advance_process(self, lease: Lease, change: ProcessChange, *, position: int) -> None:
        """Apply *change* and move the slot to *position*; raises `LeaseLost`."""
        await self.subscriptions.park(lease, change.parked, position)
        self.subscriptions.forget(change.released)
        process = lease.name
        self._apply(process, change)
        self._fill(process, change.commands)

    async def instances(self, process: str, *, after: str = "", limit: int = 1_000) -> Sequence[InstanceRow]:
        """Return at most *limit* instances of *process* named above *after*, in order, without the finished."""
        rows = sorted(self._instances[process].values())
        return [row for row in rows if row.instance > after and row.state is not None][:limit]

    async def ask_to_stop(self, process: str, instance: str) -> bool:
        """Note that *instance* is to end, until it has, and say whether it runs."""
        row = self._instances[process].get(instance)
        if row is None or row.state is None:
            return False
        self._asked_to_stop[process].add(instance)
        return True

    async def asked_to_stop(self, process: str) -> Sequence[str]:
        """Return the instances of *process* that are to end, in order."""
        return sorted(self._asked_to_stop[process])

    async def change_process(self, process: str, change: ProcessChange) -> int:
        """Apply *change*, and return how many commands it withdrew."""
        withdrawn = self._apply(process, change)
        self._fill(process, change.commands)
        return withdrawn

    async def pending(self, process: str, *, after: str = "", limit: int = 1_000) -> Sequence[Pending]:
        """Return what instances named above *after* have scheduled, wait to have sent, or have parked."""
        rows = [Pending(None, row) for row in self._outboxes[process].values()]
        rows += [Pending(*timer) for timer in _by_time(self._timers[process].values())]
        rows = sorted((row for row in rows if row.command.instance > after), key=lambda row: row.command.instance)
        last = {row.command.instance for row in rows[limit - 1 : limit]}
        return [row for place, row in enumerate(rows) if place < limit or row.command.instance in last]

    async def pending_of(self, process: str, instance: str) -> Sequence[Pending]:
        """Return what *instance* has scheduled, waits to have sent, or has parked."""
        rows = await self.pending(process, limit=len(self._outboxes[process]) + len(self._timers[process]) + 1)
        return [row for row in rows if row.command.instance == instance]

    async def outbox(
        self, process: str, *, limit: int, part: Part | None = None, but: Collection[str] = ()
    ) -> Sequence[OutboxRow]:
        """Return at most *limit* commands to send, oldest first, and none of the instances *but*."""
        held_back = set(but)
        rows: list[OutboxRow] = []
        for row in self._outboxes[process].values():
            if len(rows) == limit:
                break
            if row.parked is not None:
                held_back.add(row.instance)
            elif row.instance not in held_back and (part is None or part.has(row.instance)):
                rows.append(row)
        return rows

    async def fire(self, process: str, *, until: datetime, limit: int, part: Part | None = None) -> datetime | None:
        """Put the commands that are due at *until*, or were before, into the outbox; return when the next is due."""
        self._check(part)
        timers = self._timers[process]
        mine = _by_time(row for row in timers.values() if part is None or part.has(row.command.instance))
        due = [row for row in mine[:limit] if row.due_at <= until]
        for row in due:
            del timers[row.command.instance, row.command.timer or ""]
            self._fill(process, [row.command])
        return mine[len(due)].due_at if len(due) < len(mine) else None

    async def is_waiting(self, process: str, command_id: UUID) -> bool:
        """Say whether that command is in the outbox, neither settled nor withdrawn."""
        return command_id in self._outboxes[process]

    async def timers(self, process: str, instances: Collection[str] | None = None) -> Sequence[TimerRow]:
        """Return what is scheduled and not due yet, of *instances* or of all, earliest first."""
        rows = self._timers[process].values()
        return _by_time(row for row in rows if instances is None or row.command.instance in instances)

    async def parked(self, process: str) -> Sequence[OutboxRow]:
        """Return the parked commands, oldest first."""
        return [row for row in self._outboxes[process].values() if row.parked is not None]

    async def settle(self, process: str, command_ids: Collection[UUID], *, part: Part | None = None) -> None:
        """Remove commands that have had their answer from the outbox."""
        self._check(part)
        outbox = self._outboxes[process]
        for command_id in command_ids:
            outbox.pop(command_id, None)

    async def settle_refused(self, row: OutboxRow, change: ProcessChange, *, part: Part | None = None) -> bool:
        """Put what a process made of a refused command in its place; False if it is settled already."""
        self._check(part)
        outbox = self._outboxes[row.process]
        if row.command_id not in outbox:
            return False
        self._apply(row.process, change, but=row.command_id)
        if change.drops_rest:
            _drop_rest(outbox, outbox[row.command_id])
        self._outboxes[row.process] = _replaced(outbox, row.command_id, change.commands)
        return True

    async def park(self, row: OutboxRow, reason: str, *, part: Part | None = None) -> None:
        """Set *row* aside with the *reason*; later commands of its instance wait behind it."""
        self._check(part)
        outbox = self._outboxes[row.process]
        if (waiting := outbox.get(row.command_id)) is not None:
            outbox[row.command_id] = waiting._replace(parked=reason)

    def _apply(self, process: str, change: ProcessChange, *, but: UUID | None = None) -> int:
        """Apply all of *change* but its commands, and count what it withdraws; *but* is sent, and stays where it is."""
        rows = self._instances[process]
        for saved in change.saved:
            rows[saved.instance] = saved
            if saved.state is None:
                self._asked_to_stop[process].discard(saved.instance)
        whole = {each.instance for each in change.withdrawn if each.timer is None}
        keys = {(each.instance, each.timer) for each in change.withdrawn}
        keys |= {(row.command.instance, row.command.timer) for row in change.timers}
        timers, outbox = self._timers[process], self._outboxes[process]
        before = len(timers) + len(outbox)
        for key in [key for key in timers if key in keys or key[0] in whole]:
            del timers[key]
        for row in list(outbox.values()):
            is_withdrawn = (row.instance, row.timer) in keys or row.instance in whole
            if row.timer is not None and is_withdrawn and row.parked is None and row.command_id != but:
                del outbox[row.command_id]
        withdrawn = before - len(timers) - len(outbox)
        for timer in change.timers:
            timers[timer.command.instance, timer.command.timer or ""] = timer
        return withdrawn

    def _check(self, part: Part | None) -> None:
        if part is not None:
            self.subscriptions.check(part.lease)

    def _fill(self, process: str, commands: Iterable[OutboxRow]) -> None:
        outbox = self._outboxes[process]
        for row in commands:
            self._last_number += 1
            outbox[row.command_id] = row._replace(process=process, number=self._last_number, piece=0)


def _by_time(timers: Iterable[TimerRow]) -> list[TimerRow]:
    return sorted(timers, key=lambda row: (row.due_at, row.command.instance, row.command.timer))


def _drop_rest(outbox: dict[UUID, OutboxRow], refused: OutboxRow) -> None:
    """Remove what waits behind *refused* and was yielded together with it."""
    for row in list(outbox.values()):
        is_behind = (row.number, row.piece) > (refused.number, refused.piece)
        is_of_it = row.instance == refused.instance and row.causation_id == refused.causation_id
        if is_behind and is_of_it and row.timer is None and row.parked is None:
            del outbox[row.command_id]


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
