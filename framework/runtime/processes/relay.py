"""Sends the commands of a process: in order for each instance, many instances at a time, and again until answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from contextvars import Context
from datetime import datetime
from itertools import groupby
from typing import Any, Protocol
from uuid import UUID

import attrs

from framework.clock import Clock
from framework.errors import (
    CommandRejected,
    DispatchTimeout,
    LeaseLost,
    OutcomeUnknown,
    StorageUnavailable,
    TooManyAttempts,
)
from framework.messages import Cause, current_cause
from framework.observe import PROCESS_COMMAND_DELAYED, PROCESS_COMMAND_PARKED, caused, log
from framework.policies import CONFLICT, POLL_SECONDS, Backoff
from framework.store.protocol import InstanceRow, OutboxRow, Part, ProcessChange, ProcessStore
from framework.subscription.slots import Hold

RELAY_PAGE = 500
"""Commands read from the outbox at once."""

AT_ONCE = 64
"""Instances whose commands are on their way at the same time."""

Send = Callable[[Any, UUID], Awaitable[None]]
"""Dispatches what `Relayed.command` returned, under an id; raises as a dispatch does."""


class Relayed(Protocol):
    """What has commands to send: a process, or what is scheduled outside of any."""

    @property
    def name(self) -> str:
        """What its commands are stored under."""
        ...

    def command(self, row: OutboxRow) -> Any:
        """Return what to send for *row*."""
        ...

    def refused(
        self, row: OutboxRow, instance: InstanceRow | None, command: Any, refusal: CommandRejected, at: datetime
    ) -> ProcessChange:
        """Return what follows from a *refusal*; raises what the command is to be parked with."""
        ...


class Bell:
    """Tells a relay that there is more to send, or will be."""

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        """Call *wake* each time it rings."""
        self._wake = wake
        self.rung = asyncio.Event()
        self.due_at: datetime | None = None
        """When the first is due of what was scheduled since the relay looked."""

    def ring_for(self, change: ProcessChange) -> None:
        """Ring if *change*, which is stored, leaves something to send."""
        for timer in change.timers:
            self.due_at = timer.due_at if self.due_at is None else min(self.due_at, timer.due_at)
        if change.commands or change.timers:
            self.ring()

    def ring(self) -> None:
        """Say that there may be something to send."""
        self.rung.set()
        if self._wake is not None:
            self._wake()


@attrs.frozen
class Owner:
    """Who has a slot of a process, and alone acts for the instances in it."""

    hold: Hold
    partitions: int
    """How many slots the process has."""
    turn: asyncio.Lock
    """Of whoever reads instances to write them: events, and refusals."""

    @property
    def part(self) -> Part:
        """What is to be said to the store."""
        return Part(self.hold.lease, self.partitions)


class Relay:
    """Sends the commands of a process: in order for each instance, many instances at a time."""

    def __init__(
        self,
        process: Relayed,
        store: ProcessStore,
        bell: Bell,
        send: Send,
        retry: Backoff,
        clock: Clock,
        owner: Owner | None = None,
    ) -> None:
        """Send for the slot of *owner* while he has it; without one for all instances, beside whoever else does."""
        self._process = process
        self._store = store
        self._bell = bell
        self._clock = clock
        self._owner = owner
        self._part = None if owner is None else owner.part
        self._turn = asyncio.Lock() if owner is None else owner.turn
        self.next_due: datetime | None = None
        """When the first is due of what is scheduled, as far as is known."""
        self._look_at = 0.0
        """When to look at timers that others may have left, by the loop's clock."""
        self._send = send
        self._retry = retry
        self._failures: Counter[UUID] = Counter()
        """How often commands could not be sent."""
        self._delayed: dict[str, float] = {}
        """Until when instances are left alone, by the loop's clock: their first command is to be sent again."""
        self._rests = asyncio.Event()
        """Set while there was nothing to send when it last looked."""

    async def at_rest(self) -> None:
        """Return when nothing is on its way, and nothing waits to be sent but behind what is parked."""
        if self._bell.rung.is_set():
            self._rests.clear()  # it is about to look again
        await self._rests.wait()

    def end(self) -> None:
        """Let nobody wait for what it has not sent: somebody else will, or nobody."""
        self._bell.rung.clear()
        self._rests.set()

    async def run(self) -> None:
        """Send for ever. Cancellation loses nothing: what was not settled is sent again under the same ids."""
        while True:
            await self.drain()
            await self._more()

    async def drain(self) -> None:
        """Send until there is nothing more. Raises `LeaseLost`; cancellation loses nothing, as with `run`."""
        self._rests.clear()
        while True:
            self._bell.rung.clear()
            self._check()
            await self._fire()
            rows = await self._store.outbox(
                self._process.name, limit=RELAY_PAGE, part=self._part, but=self._left_alone()
            )
            if rows:
                await self._send_all(rows)
            elif self._delayed:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(self._delayed.values())):
                        await self._bell.rung.wait()
            elif not self._bell.rung.is_set():  # by somebody while it looked
                self._rests.set()
                return

    async def _fire(self) -> None:
        """Have what is due sent with the rest; look at what nobody here has scheduled only once in a while."""
        time, now = asyncio.get_running_loop().time(), self._clock.now()
        if (first := self._bell.due_at) is not None:
            self.next_due = first if self.next_due is None else min(self.next_due, first)
            self._bell.due_at = None
        if time >= self._look_at or (self.next_due is not None and self.next_due <= now):
            name = self._process.name
            self.next_due = await self._store.fire(name, until=now, limit=RELAY_PAGE, part=self._part)
            self._look_at = time + POLL_SECONDS

    async def _more(self) -> None:
        """Return when something is to be sent, or somebody else may have left something."""
        withdraw = self._clock.alarm(self.next_due, self._bell.rung.set) if self.next_due is not None else None
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._bell.rung.wait()
        except TimeoutError:
            return  # another process may have filled the outbox, and died
        finally:
            if withdraw is not None:
                withdraw()

    async def _send_all(self, rows: Sequence[OutboxRow]) -> None:
        by_instance = sorted(rows, key=lambda row: row.instance)  # stable: each instance keeps its order
        queue = [list(group) for _, group in groupby(by_instance, key=lambda row: row.instance)]
        settled: list[UUID] = []

        async def worker() -> None:
            while queue:
                settled.extend(await self._send_in_order(queue.pop()))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(queue))):
                    # A context of its own: the cause of one instance's command is not that of the next.
                    group.create_task(worker(), context=Context())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed  # the first; it cancelled the others
        finally:
            # What was accepted before a failure, or before this was cancelled, is settled all the same.
            if settled:
                await self._store.settle(self._process.name, settled, part=self._part)

    async def _send_in_order(self, rows: Sequence[OutboxRow]) -> list[UUID]:
        """Send the commands of one instance until one is not accepted; return those that were."""
        accepted: list[UUID] = []
        for row in rows:
            # On nobody's behalf that could be waited for: what led to it is stored, and waits no more.
            token = current_cause.set(Cause(row.correlation_id, row.causation_id, ()))
            try:
                with caused(
                    correlation_id=row.correlation_id,
                    causation_id=row.causation_id,
                    process=row.process,
                    instance=row.instance,
                ):
                    if not await self._sent(row):
                        break
            finally:
                current_cause.reset(token)
            accepted.append(row.command_id)
        return accepted

    async def _sent(self, row: OutboxRow) -> bool:
        """Send one command, and say whether it was accepted; if not, what follows from that is done."""
        try:
            self._check()
            if row.timer is not None and not await self._store.is_waiting(row.process, row.command_id):
                return True  # withdrawn after it was read
            command = self._process.command(row)
            self._check()
            try:
                await self._send(command, row.command_id)
            except CommandRejected as refusal:
                await self._refused(row, command, refusal)
                return False
        except (StorageUnavailable, LeaseLost):
            raise
        except (TooManyAttempts, OutcomeUnknown, DispatchTimeout) as delay:
            # No fault of the command, however often: sent again under its id, it is answered as it was.
            self._delay(row, delay, CONFLICT.longest.total_seconds())
            return False
        except Exception as error:  # noqa: BLE001 - a command that cannot be sent must stop its instance, and no other
            await self._failed(row, error)
            return False
        self._failures.pop(row.command_id, None)
        return True

    async def _failed(self, row: OutboxRow, error: Exception) -> None:
        """Have *row* sent again after a while, as often as may be, or park it."""
        self._failures[row.command_id] += 1
        failures = self._failures[row.command_id]
        if failures < self._retry.attempts and not isinstance(error, CommandRejected):
            self._delay(row, error, self._retry.delay_s(failures), failures)
            return
        del self._failures[row.command_id]
        reason = f"{type(error).__name__}: {error}"
        log.error(PROCESS_COMMAND_PARKED, reason=reason, command=row.command_type)
        await self._store.park(row, reason, part=self._part)

    def _delay(self, row: OutboxRow, error: Exception, wait_s: float, attempt: int = 0) -> None:
        """Leave the instance of *row* alone for a while: its commands keep their places, and others go on."""
        self._delayed[row.instance] = asyncio.get_running_loop().time() + wait_s
        log.warning(
            PROCESS_COMMAND_DELAYED, command=row.command_type, attempt=attempt, error=repr(error), wait_s=wait_s
        )

    def _left_alone(self) -> Collection[str]:
        time = asyncio.get_running_loop().time()
        self._delayed = {instance: until for instance, until in self._delayed.items() if until > time}
        return self._delayed

    async def _refused(self, row: OutboxRow, command: Any, refusal: CommandRejected) -> None:
        # In turn with the events of its instance: what it says is stored before the next of them is handled.
        async with self._turn:
            rows = await self._store.load_instances(row.process, [row.instance])
            change = self._process.refused(row, rows.get(row.instance), command, refusal, self._clock.now())
            await self._store.settle_refused(row, change, part=self._part)
        self._bell.ring_for(change)

    def _check(self) -> None:
        """Raise `LeaseLost` if the slot may be another's by now."""
        if self._owner is not None:
            self._owner.hold.check()
