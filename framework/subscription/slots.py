"""Leases and fences: which slots of which subscriptions an application runs.

Its store tells it its part of the slots, each time that may be another. It trusts that for as long as others would: a
process that was stopped, or cut off from the database, finds its lease run out by its own clock before it touches
another event. Should it be wrong, its fence is, and nothing it writes is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Protocol

import attrs

from framework.errors import LeaseLost
from framework.observe import LEASE_LOST, LEASE_RELEASED, LEASE_TAKEN, log
from framework.store.subscriptions import Lease, Life, Membership, Share, Subscriptions


@attrs.define(eq=False)
class Hold:
    """A slot that this application runs, while it does."""

    lease: Lease
    life: Life
    """While it lasts nobody else may take the slot."""
    is_lost: bool = False
    given_up: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Set when the slot is to be let go after what is in hand."""
    failing: str | None = None
    """What an event has ended in that is tried again."""

    @property
    def is_ours(self) -> bool:
        """Whether, as far as can be known here, the slot is nobody else's."""
        return not self.is_lost and asyncio.get_running_loop().time() < self.life.until

    async def pause(self, seconds: float) -> None:
        """Wait so long; raises `LeaseLost` as soon as the slot is to be let go."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.given_up.wait()
                raise LeaseLost(*self.lease)

    def check(self) -> None:
        """Raise `LeaseLost` if the slot may be another's by now. To be asked before each effect."""
        if not self.is_ours:
            raise LeaseLost(*self.lease)

    def check_at(self, now: float) -> None:
        """Do as `check` does, for who knows what the time is by the loop's clock."""
        if self.is_lost or now >= self.life.until:
            raise LeaseLost(*self.lease)

    def check_wanted(self) -> None:
        """Raise `LeaseLost` if the slot is to be let go: what is left to do is for whoever takes it next."""
        if self.given_up.is_set():
            raise LeaseLost(*self.lease)


class Runner(Protocol):
    """What runs a slot."""

    @property
    def trouble(self) -> str | None:
        """Why it stands still, if it does."""
        ...

    @property
    def rests_at(self) -> int | None:
        """The position at which it has come to rest; None if it has not."""
        ...

    rest: asyncio.Future[None] | None
    """What ends its last rest: done when the log has grown, or cancelled by `attend`."""

    async def run(self) -> None:
        """Run until stopped, or at rest, or where it is to stand still; raises `LeaseLost`.

        From its rest it is to be run again, once the log has grown.
        """
        ...

    def stop(self) -> None:
        """Have `run` return after what is in hand."""
        ...

    def attend(self) -> None:
        """Look soon whether somebody has asked for something to be done with what is parked."""
        ...


class Supervisor(Protocol):
    """Something that owns tasks, runs anew what lost its database, and tells of what has died."""

    def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]: ...

    def report(self, name: str, error: Exception) -> None: ...


@attrs.define(eq=False)
class Running:
    """A slot that is run here."""

    hold: Hold
    runner: Runner
    task: asyncio.Task[None]
    growth: asyncio.Future[None] | None = None
    """Done when the log has grown, where the slot is at rest until then."""


class Leases:
    """The slots that this application runs: begun, and given up, as it is told. It is a `Member`."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        names: Collection[str],
        start: Callable[[Hold], Runner],
        supervisor: Supervisor,
        growth: Callable[[int], asyncio.Future[None]],
        cut: Callable[[str], Awaitable[bool]],
    ) -> None:
        """Run slots of the subscriptions *names*, each by what *start* makes of its hold.

        By *growth* is learned when there may be something above a position. *cut* does what is next where the slots of
        a subscription are held to be cut anew, and says whether they have been.
        """
        self._growth = growth
        self._cut = cut
        self._cutting: set[str] = set()
        """The subscriptions that it is asked to."""
        self._subscriptions = subscriptions
        self._names = names
        self._start = start
        self._supervisor = supervisor
        self._membership: Membership | None = None
        self._running: dict[tuple[str, int], Running] = {}
        self._ending: dict[tuple[str, int], asyncio.Task[None]] = {}
        """What ran slots that were given up, and may not have noticed."""
        self._given: set[Lease] = set()
        """Those that are given back, or are about to be, and that we may still be told to hold."""
        self._is_leaving = False

    @property
    def halted(self) -> Mapping[Lease, str]:
        """Which of them stand still before an event that failed, and what is wrong."""
        running = self._running.values()
        return {each.hold.lease: each.runner.trouble for each in running if each.runner.trouble is not None}

    @property
    def held(self) -> tuple[Lease, ...]:
        """What is run here at this moment, as far as can be known."""
        return tuple(each.hold.lease for each in self._running.values() if each.hold.is_ours)

    async def join(self) -> None:
        """Take part; raises `StorageUnavailable`."""
        self._membership = await self._subscriptions.join(self._names, self)

    def shared(self, share: Share) -> None:
        """Run what is to be run here, and nothing else."""
        if self._is_leaving:
            return
        held = {(lease.name, lease.slot): lease for lease in share.held}
        self._given.intersection_update(share.held)
        for key, running in list(self._running.items()):
            if held.get(key) != running.hold.lease:
                running.hold.is_lost = True
                log.warning(LEASE_LOST, handler=key[0], slot=key[1], fence=running.hold.lease.fence)
                self._end(running)
            elif running.hold.is_lost:
                del self._running[key]  # it was found to be lost, and is not: it begins anew below
            else:
                running.runner.attend()
        for key, lease in held.items():
            if key not in self._running and lease not in self._given and lease not in share.surplus:
                self._begin(Hold(lease, share.life))
        surplus = [lease for lease in share.surplus if lease not in self._given]
        if surplus:
            self._given.update(surplus)
            _ = self._supervisor.keep("slots given back", partial(self._give_back, self._stopped(surplus), surplus))
        for name in share.to_cut:
            if name not in self._cutting:
                self._cutting.add(name)
                _ = self._supervisor.keep(f"slots of {name}", partial(self._cut_anew, name))

    def failed(self, error: Exception) -> None:
        """Run nothing more, and say why: nobody tells what is to be run here."""
        for running in list(self._running.values()):
            running.hold.is_lost = True
            self._end(running)
        self._supervisor.report("leases", error)

    async def leave(self, within_s: float) -> None:
        """Finish what is in hand, at most *within_s* seconds, and give back everything for others to take at once."""
        self._is_leaving = True
        running = [each.task for each in self._running.values()]
        for each in list(self._running.values()):
            self._end(each)
        if running:
            _, late = await asyncio.wait(running, timeout=within_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if self._membership is not None:
            await self._membership.leave()

    def _begin(self, hold: Hold) -> None:
        name, slot, fence = hold.lease
        runner = self._start(hold)
        work = partial(self._run, hold, runner, self._ending.pop((name, slot), None))
        task = self._supervisor.keep(f"{name} slot {slot}", work)
        self._running[name, slot] = Running(hold, runner, task)
        log.info(LEASE_TAKEN, handler=name, slot=slot, fence=fence)

    async def _run(self, hold: Hold, runner: Runner, before: asyncio.Task[None] | None = None) -> None:
        if before is not None:
            await asyncio.wait([before])  # it may be in the middle of an event that comes again
        try:
            await runner.run()
        except LeaseLost:
            hold.is_lost = True
            if self._membership is not None:
                self._membership.lost()
        else:
            # In the step in which it has looked: whoever wakes it from here on finds it asleep.
            running = self._running.get(hold.lease[:2])
            if running is None or running.hold is not hold:
                return
            if runner.rests_at is not None:
                running.growth = runner.rest = self._growth(runner.rests_at)
                running.growth.add_done_callback(lambda _: self._wake(running))
            else:
                # It has come to where it is to stand still.
                self._end(running)
                self._given.add(hold.lease)
                await self._give_back((), [hold.lease])

    def _wake(self, running: Running) -> None:
        """Run on what is at rest."""
        if running.growth is None:
            return
        running.growth.cancel()
        running.growth = None
        name, slot, _ = running.hold.lease
        running.task = self._supervisor.keep(f"{name} slot {slot}", partial(self._run, running.hold, running.runner))

    def _end(self, running: Running) -> None:
        key = running.hold.lease[:2]
        if (growth := running.growth) is not None:
            running.growth = None
            growth.cancel()
        running.runner.stop()
        del self._running[key]
        self._ending[key] = running.task

    def _stopped(self, leases: Collection[Lease]) -> list[asyncio.Task[None]]:
        """Have what runs *leases* stop, and return what is to be waited for."""
        running = [self._running[lease[:2]] for lease in leases if lease[:2] in self._running]
        for each in running:
            self._end(each)
        return [each.task for each in running]

    async def _cut_anew(self, name: str) -> None:
        try:
            is_done = await self._cut(name)
        finally:
            self._cutting.discard(name)
        if not is_done and self._membership is not None:
            self._membership.lost()  # somebody runs a slot yet, or has moved one: we look again later

    async def _give_back(self, stopping: Collection[asyncio.Task[None]], leases: Collection[Lease]) -> None:
        """Give back *leases* when those who run them have stopped, with what is in hand done."""
        if stopping:
            await asyncio.wait(stopping)
        await self._subscriptions.release(leases)
        for name, slot, fence in leases:
            log.info(LEASE_RELEASED, handler=name, slot=slot, fence=fence)
