"""Leases and fences: which slots of which subscriptions this process runs.

The process says every two seconds that it lives, and is told its part of the slots. It trusts that for as long as
others would: a process that was stopped, or cut off from the database, finds its lease run out by its own clock before
it touches another event. Should it be wrong, its fence is, and nothing it writes is taken.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Protocol
from uuid import UUID

import attrs

from framework.clock import jitter
from framework.errors import LeaseLost, StorageUnavailable
from framework.observe import LEASE_LOST, LEASE_RELEASED, LEASE_TAKEN, LEASES_UNKNOWN, log
from framework.policies import LEASE, RENEW
from framework.store.subscriptions import Lease, Subscriptions


@attrs.define(eq=False)
class Hold:
    """A slot that this process runs, while it does."""

    lease: Lease
    until: float
    """By the loop's clock: others may take the slot after it."""
    ran_out: bool = False
    """Whether it was found to be over."""
    given_up: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Set when the slot is to be let go after what is in hand."""

    async def pause(self, seconds: float) -> None:
        """Wait so long; raises `LeaseLost` as soon as the slot is to be let go."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.given_up.wait()
                raise LeaseLost(*self.lease)

    def check(self) -> None:
        """Raise `LeaseLost` if the slot may be another's by now. To be asked before each effect."""
        if asyncio.get_running_loop().time() >= self.until:
            self.ran_out = True
            raise LeaseLost(*self.lease)


class Runner(Protocol):
    """What runs a slot."""

    @property
    def trouble(self) -> str | None:
        """Why it stands still, if it does."""
        ...

    async def run(self) -> None:
        """Run until stopped, or until the lease is lost."""
        ...

    def stop(self) -> None:
        """Have `run` return after what is in hand."""
        ...

    def attend(self) -> None:
        """Look soon whether somebody has asked for something to be done with what is parked."""
        ...


class Tasks(Protocol):
    """Something that owns tasks, and runs anew what lost its database."""

    def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]: ...


@attrs.frozen(eq=False)
class Running:
    """A slot that is run here."""

    hold: Hold
    runner: Runner
    task: asyncio.Task[None]


class Leases:
    """The slots this process runs: taken, renewed, given back."""

    def __init__(
        self,
        node: UUID,
        subscriptions: Subscriptions,
        names: Collection[str],
        start: Callable[[Hold], Runner],
        tasks: Tasks,
    ) -> None:
        """Run slots of the subscriptions *names*, each by what *start* makes of its hold."""
        self._node = node
        self._label = f"{socket.gethostname()}:{os.getpid()}"
        self._subscriptions = subscriptions
        self._names = names
        self._start = start
        self._tasks = tasks
        self._running: dict[tuple[str, int], Running] = {}

    @property
    def halted(self) -> Mapping[Lease, str]:
        """Which of them stand still before an event that failed, and what is wrong."""
        running = self._running.values()
        return {each.hold.lease: each.runner.trouble for each in running if each.runner.trouble is not None}

    @property
    def held(self) -> tuple[Lease, ...]:
        """What this process runs at this moment, as far as it can know."""
        now = asyncio.get_running_loop().time()
        return tuple(each.hold.lease for each in self._running.values() if now < each.hold.until)

    async def run(self) -> None:
        """Take part until cancelled; then `leave`."""
        while True:
            try:
                await self.renew()
            except StorageUnavailable as error:
                # The holds run out by themselves, and what runs by them stops.
                log.warning(LEASES_UNKNOWN, error=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(jitter(RENEW.total_seconds())):
                    await self._subscriptions.wait_for_change()

    async def renew(self) -> None:
        """Say that this process lives, and run what it is told to."""
        # The lease counts from before the question: the answer may take its time.
        until = asyncio.get_running_loop().time() + LEASE.total_seconds()
        share = await self._subscriptions.share(self._node, self._names, label=self._label)
        held = {(lease.name, lease.slot): lease for lease in share.held}
        for key, running in list(self._running.items()):
            if held.get(key) != running.hold.lease:
                running.hold.until = 0.0
                running.runner.stop()
                log.warning(LEASE_LOST, handler=key[0], slot=key[1], fence=running.hold.lease.fence)
                del self._running[key]
            elif running.hold.ran_out and running.task.done():
                del self._running[key]  # nobody else has taken it: it begins anew below
            else:
                running.hold.until = until
                running.runner.attend()
        for key, lease in held.items():
            if key not in self._running and lease not in share.surplus:
                self._begin(Hold(lease, until))
        for lease in share.surplus:
            await self._give_back(lease)

    async def leave(self, within_s: float) -> None:
        """Finish what is in hand, at most *within_s* seconds, and give back everything for others to take at once."""
        running = [each.task for each in self._running.values()]
        for each in self._running.values():
            each.runner.stop()
        if running:
            _, late = await asyncio.wait(running, timeout=within_s)
            for task in late:
                task.cancel()
        self._running.clear()
        with suppress(StorageUnavailable):  # then they are free when the heartbeat is stale
            await self._subscriptions.leave(self._node)

    def _begin(self, hold: Hold) -> None:
        name, slot, fence = hold.lease
        runner = self._start(hold)
        task = self._tasks.keep(f"{name} slot {slot}", runner.run)
        self._running[name, slot] = Running(hold, runner, task)
        log.info(LEASE_TAKEN, handler=name, slot=slot, fence=fence)

    async def _give_back(self, lease: Lease) -> None:
        running = self._running.get((lease.name, lease.slot))
        if running is not None:
            running.runner.stop()
            if not running.task.done():
                return  # when what is in hand is done, the next time
            del self._running[lease.name, lease.slot]
        await self._subscriptions.release([lease])
        log.info(LEASE_RELEASED, handler=lease.name, slot=lease.slot, fence=lease.fence)
