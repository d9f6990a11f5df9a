"""What processes keep: instances, the commands they have to send, and those they have scheduled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any
from uuid import UUID

from framework.errors import LeaseLost
from framework.store.postgres import statements
from framework.store.postgres.asking import Asking
from framework.store.postgres.subscriptions import parked_columns
from framework.store.protocol import InstanceRow, OutboxRow, Part, Pending, ProcessChange, TimerRow
from framework.store.subscriptions import Lease, hash_of


class ProcessTables(Asking):
    """`framework.store.protocol.ProcessStore` over tables."""

    @abstractmethod
    def _transaction(self) -> AbstractAsyncContextManager[Any]:
        """Lend a connection in a transaction, which is committed unless the block fails."""

    async def load_instances(self, process: str, instances: Collection[str]) -> Mapping[str, InstanceRow]:
        """Return the instances there are among *instances*."""
        rows = await self._fetch(statements.LOAD_INSTANCES, process, list(instances))
        return {row["instance"]: InstanceRow(*row) for row in rows}

    async def advance_process(self, lease: Lease, change: ProcessChange, *, position: int) -> None:
        """Apply *change* and move the slot of *lease* to *position*, all or nothing; raises `LeaseLost`."""
        process = lease.name
        async with self._transaction() as connection:
            # First, since it locks: of two nodes the second waits here, and is told before it has written anything.
            statement = statements.PARK_EVENTS if change.parked else statements.ADVANCE_SLOT
            columns = parked_columns(change.parked) if change.parked else ()
            if not await connection.fetch(statement, *lease, position, *columns):
                raise LeaseLost(*lease)
            if change.released:
                places = [event.position for event in change.released], [event.key for event in change.released]
                await connection.execute(statements.UNPARK_EVENTS, process, *places)
            await _apply(connection, process, change)
            if change.commands:
                await connection.execute(statements.FILL_OUTBOX, process, *_columns(change.commands))

    async def instances(self, process: str, *, after: str = "", limit: int = 1_000) -> Sequence[InstanceRow]:
        """Return at most *limit* instances of *process* named above *after*, in order, without the finished."""
        return [InstanceRow(*row) for row in await self._fetch(statements.RUNNING_INSTANCES, process, after, limit)]

    async def ask_to_stop(self, process: str, instance: str) -> bool:
        """Note that *instance* is to end, until it has, and say whether it runs."""
        return bool(await self._fetch(statements.ASK_TO_STOP, process, instance))

    async def asked_to_stop(self, process: str) -> Sequence[str]:
        """Return the instances of *process* that are to end, in order."""
        return [row["instance"] for row in await self._fetch(statements.ASKED_TO_STOP, process)]

    async def change_process(self, process: str, change: ProcessChange) -> int:
        """Apply *change*, all or nothing, and return how many commands it withdrew."""
        of = {each.instance for each in change.withdrawn} | {row.command.instance for row in change.timers}
        async with self._transaction() as connection:
            await connection.execute(statements.LOCK_INSTANCES, process, sorted(of))
            withdrawn = await _apply(connection, process, change)
            if change.commands:
                await connection.execute(statements.FILL_OUTBOX, process, *_columns(change.commands))
            return withdrawn

    async def pending(self, process: str, *, after: str = "", limit: int = 1_000) -> Sequence[Pending]:
        """Return what instances named above *after* have scheduled, wait to have sent, or have parked."""
        return _pending(await self._fetch(statements.PENDING, process, after, limit))

    async def pending_of(self, process: str, instance: str) -> Sequence[Pending]:
        """Return what *instance* has scheduled, waits to have sent, or has parked."""
        return _pending(await self._fetch(statements.PENDING_OF, process, instance))

    async def outbox(
        self, process: str, *, limit: int, part: Part | None = None, but: Collection[str] = ()
    ) -> Sequence[OutboxRow]:
        """Return at most *limit* commands to send, oldest first, without those behind a parked one, or of *but*."""
        slot, _, partitions = _owned(part)
        rows = await self._fetch(statements.OUTBOX, process, limit, partitions, slot, list(but))
        return [OutboxRow(*row) for row in rows]

    async def fire(self, process: str, *, until: datetime, limit: int, part: Part | None = None) -> datetime | None:
        """Put the commands that are due at *until*, or were before, into the outbox; return when the next is due."""
        slot, fence, partitions = _owned(part)
        first = await self._next_timer(process, partitions, slot)
        if first is None or first > until:
            return first  # as mostly: to look is cheaper than to look for what to delete
        _check(part, await self._fetch(statements.FIRE_TIMERS, process, until, limit, partitions, slot, fence))
        return await self._next_timer(process, partitions, slot)

    async def _next_timer(self, process: str, partitions: int, slot: int | None) -> datetime | None:
        ((due_at,),) = await self._fetch(statements.NEXT_TIMER, process, partitions, slot)
        return due_at if isinstance(due_at, datetime) else None

    async def is_waiting(self, process: str, command_id: UUID) -> bool:
        """Say whether that command is in the outbox, neither settled nor withdrawn."""
        return bool(await self._fetch(statements.IS_WAITING, process, command_id))

    async def timers(self, process: str, instances: Collection[str] | None = None) -> Sequence[TimerRow]:
        """Return what is scheduled and not due yet, of *instances* or of all, earliest first."""
        rows = await self._fetch(statements.TIMERS, process, None if instances is None else list(instances))
        return [TimerRow(due_at, OutboxRow(*command)) for due_at, *command in rows]

    async def parked(self, process: str) -> Sequence[OutboxRow]:
        """Return the parked commands, oldest first."""
        return [OutboxRow(*row) for row in await self._fetch(statements.PARKED, process)]

    async def settle(self, process: str, command_ids: Collection[UUID], *, part: Part | None = None) -> None:
        """Remove commands that have had their answer from the outbox."""
        slot, fence, _ = _owned(part)
        _check(part, await self._fetch(statements.SETTLE, process, list(command_ids), slot, fence))

    async def settle_refused(self, row: OutboxRow, change: ProcessChange, *, part: Part | None = None) -> bool:
        """Remove a refused command and apply what its process made of it, all or nothing."""
        slot, fence, _ = _owned(part)
        async with self._transaction() as connection:
            await connection.execute(statements.LOCK_INSTANCES, row.process, [row.instance])
            stood = await connection.fetch(statements.SETTLE, row.process, [row.command_id], slot, fence)
            _check(part, stood)
            if stood[0]["number"] is None:
                return False
            await _apply(connection, row.process, change)
            place = row.process, stood[0]["number"], stood[0]["piece"]
            if change.drops_rest:
                await connection.execute(statements.DROP_REST, *place, row.instance, row.causation_id)
            if change.commands:
                await connection.execute(statements.MAKE_ROOM, *place, len(change.commands))
                await connection.execute(statements.TAKE_PLACE, *place, *_columns(change.commands))
            return True

    async def park(self, row: OutboxRow, reason: str, *, part: Part | None = None) -> None:
        """Set *row* aside with the *reason*; later commands of its instance wait behind it."""
        slot, fence, _ = _owned(part)
        _check(part, await self._fetch(statements.PARK, row.process, row.command_id, reason, slot, fence))


def _owned(part: Part | None) -> tuple[int | None, int | None, int]:
    """Return the slot and the fence that a statement is to look at, none for all, and how many slots there are."""
    return (None, None, 1) if part is None else (part.lease.slot, part.lease.fence, part.partitions)


def _check(part: Part | None, rows: Sequence[Any]) -> None:
    """Raise `LeaseLost` where a statement says by no row that the lease of *part* is not good."""
    if part is not None and not rows:
        raise LeaseLost(*part.lease)


async def _apply(connection: Any, process: str, change: ProcessChange) -> int:
    """Apply all of *change* but its commands, and return how many commands it withdrew."""
    count = 0
    if change.saved:
        instances, versions, states = zip(*change.saved, strict=True)
        await connection.execute(statements.SAVE_INSTANCES, process, instances, versions, states)
    withdrawn = [*change.withdrawn, *((row.command.instance, row.command.timer) for row in change.timers)]
    if withdrawn:
        of, keys = zip(*withdrawn, strict=True)
        # In this order: one that comes due meanwhile is gone from the timers, and is found where it went.
        count += len(await connection.fetch(statements.WITHDRAW_TIMERS, process, of, keys))
        count += len(await connection.fetch(statements.WITHDRAW_COMMANDS, process, of, keys))
    if change.timers:
        commands = [row.command for row in change.timers]
        places = [row.timer for row in commands], [row.due_at for row in change.timers]
        await connection.execute(statements.SET_TIMERS, process, *_columns(commands), *places)
    return count


def _columns(commands: Sequence[OutboxRow]) -> tuple[list[Any], ...]:
    """Return *commands* as the arrays that the outbox's statements take."""
    return (
        [row.instance for row in commands],
        [row.command_id for row in commands],
        [row.command_type for row in commands],
        [row.command for row in commands],
        [row.correlation_id for row in commands],
        [row.causation_id for row in commands],
        [hash_of(row.instance) for row in commands],
    )


def _pending(rows: Sequence[Any]) -> Sequence[Pending]:
    return sorted((Pending(due_at, OutboxRow(*command)) for due_at, *command in rows), key=_order)


def _order(pending: Pending) -> tuple[str, bool, Any, Any]:
    """Return what sorts *pending*: what waits goes before what is not due."""
    command = pending.command
    if pending.due_at is None:
        return command.instance, False, command.number, command.piece
    return command.instance, True, pending.due_at, command.timer
