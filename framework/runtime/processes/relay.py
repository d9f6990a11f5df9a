"""Sends the commands of a process: in order for each instance, many instances at a time, and again until answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from datetime import datetime
from itertools import groupby
from typing import Any, Protocol
from uuid import UUID

from framework.clock import Clock
from framework.errors import (
    CommandRejected,
    DispatchTimeout,
    OutcomeUnknown,
    StorageUnavailable,
    TooManyAttempts,
)
from framework.messages import Cause, current_cause
from framework.observe import HANDLER_RETRY, PROCESS_COMMAND_BEATEN, PROCESS_COMMAND_PARKED, caused, log
from framework.policies import CONFLICT, POLL_SECONDS, Backoff
from framework.store.protocol import InstanceRow, OutboxRow, ProcessChange, ProcessStore

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

    def __init__(self) -> None:
        self.rung = asyncio.Event()
        self.due_at: datetime | None = None
        """When the first is due of what was scheduled since the relay looked."""

    def ring_for(self, change: ProcessChange) -> None:
        """Ring if *change*, which is stored, leaves something to send."""
        for timer in change.timers:
            self.due_at = timer.due_at if self.due_at is None else min(self.due_at, timer.due_at)
        if change.commands or change.timers:
            self.rung.set()


class Relay:
    """Sends the commands of a process: in order for each instance, many instances at a time."""

    def __init__(
        self, process: Relayed, store: ProcessStore, bell: Bell, send: Send, retry: Backoff, clock: Clock
    ) -> None:
        self._process = process
        self._store = store
        self._bell = bell
        self._clock = clock
        self._next_due: datetime | None = None
        self._look_at = 0.0
        """When to look at timers that others may have left, by the loop's clock."""
        self._send = send
        self._retry = retry
        self._rests = asyncio.Event()
        """Set while there was nothing to send when it last looked."""

    async def at_rest(self) -> None:
        """Return when nothing is on its way, and nothing waits to be sent but behind what is parked."""
        if self._bell.rung.is_set():
            self._rests.clear()  # it is about to look again
        await self._rests.wait()

    async def run(self) -> None:
        """Send for ever. Cancellation loses nothing: what was not settled is sent again under the same ids."""
        while True:
            self._rests.clear()
            self._bell.rung.clear()
            await self._fire()
            rows = await self._store.outbox(self._process.name, limit=RELAY_PAGE)
            if rows:
                await self._send_all(rows)
            else:
                await self._more()

    async def _fire(self) -> None:
        """Have what is due sent with the rest; look at what nobody here has scheduled only once in a while."""
        time, now = asyncio.get_running_loop().time(), self._clock.now()
        if (first := self._bell.due_at) is not None:
            self._next_due = first if self._next_due is None else min(self._next_due, first)
            self._bell.due_at = None
        if time >= self._look_at or (self._next_due is not None and self._next_due <= now):
            self._next_due = await self._store.fire(self._process.name, until=now, limit=RELAY_PAGE)
            self._look_at = time + POLL_SECONDS

    async def _more(self) -> None:
        withdraw = self._clock.alarm(self._next_due, self._bell.rung.set) if self._next_due is not None else None
        if not self._bell.rung.is_set():  # by somebody while it looked, or because the time has come meanwhile
            self._rests.set()
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
                await self._store.settle(self._process.name, settled)

    async def _send_in_order(self, rows: Sequence[OutboxRow]) -> list[UUID]:
        """Send the commands of one instance until one is refused; return those that were accepted."""
        accepted: list[UUID] = []
        for row in rows:
            cause = Cause(row.correlation_id, row.causation_id, (self._process.name,))
            token = current_cause.set(cause)
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
        """Send one command, and say whether it was accepted; what is refused is answered by the process itself."""
        if row.timer is not None and not await self._store.is_waiting(row.process, row.command_id):
            return True  # withdrawn after it was read
        command = self._process.command(row)
        refusals: list[CommandRejected] = []
        defeats: list[TooManyAttempts] = []

        async def attempt() -> None:
            try:
                await self._send(command, row.command_id)
            except CommandRejected as refusal:
                refusals.append(refusal)
            except TooManyAttempts as defeat:
                defeats.append(defeat)
            except (OutcomeUnknown, DispatchTimeout) as error:
                # No fault of the command, however long it lasts: sent again under its id, it is answered as it was.
                raise StorageUnavailable(f"{row.command_type} has no answer yet: {error}") from error

        try:
            await self._insist(attempt)
            if refusals:
                await self._refused(row, command, refusals[0])
            elif defeats:
                await self._beaten(row, defeats[0])
            else:
                return True
        except StorageUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a command that cannot be sent must stop its instance, and no other
            reason = f"{type(error).__name__}: {error}"
            log.error(PROCESS_COMMAND_PARKED, reason=reason, command=row.command_type)
            await self._store.park(row, reason)
        return False

    async def _insist(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Await *attempt* until it succeeds, with growing pauses; raises its last error when the policy gives up."""
        failures = 0
        while True:
            try:
                await attempt()
            except StorageUnavailable:
                raise
            except Exception as error:
                failures += 1
                if failures >= self._retry.attempts:
                    raise
                wait_s = self._retry.delay_s(failures)
                log.warning(
                    HANDLER_RETRY,
                    handler=self._process.name,
                    position=0,
                    attempt=failures,
                    error=repr(error),
                    wait_s=wait_s,
                )
                await asyncio.sleep(wait_s)
            else:
                return

    @staticmethod
    async def _beaten(row: OutboxRow, defeat: TooManyAttempts) -> None:
        # Its rivals' fault, if anybody's: it keeps its place, and the next page begins with it again.
        wait_s = CONFLICT.longest.total_seconds()
        log.warning(PROCESS_COMMAND_BEATEN, command=row.command_type, error=str(defeat), wait_s=wait_s)
        await asyncio.sleep(wait_s)

    async def _refused(self, row: OutboxRow, command: Any, refusal: CommandRejected) -> None:
        rows = await self._store.load_instances(row.process, [row.instance])
        change = self._process.refused(row, rows.get(row.instance), command, refusal, self._clock.now())
        await self._store.settle_refused(row, change)
        self._bell.ring_for(change)
