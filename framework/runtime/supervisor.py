"""Owns every task of an application: starts them, restarts those that lost their database, reports the dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from framework.clock import jitter
from framework.errors import StorageUnavailable, SubsystemFailed
from framework.observe import SUBSYSTEM_FAILED, SUBSYSTEM_RESTARTED, log
from framework.policies import RECONNECT
from framework.tasks import Tasks


class Supervisor:
    """The tasks of an application, and what has died of them."""

    def __init__(self) -> None:
        self.failures: list[SubsystemFailed] = []
        """The parts that have died, in that order."""
        self._tasks = Tasks(self.report)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._limits: set[asyncio.Timeout] = set()

    @property
    def failure(self) -> SubsystemFailed | None:
        """The first part that died, if one did."""
        return self.failures[0] if self.failures else None

    async def end(self) -> None:
        """Cancel what still runs, and return when all of it has ended."""
        try:
            await self._tasks.end()
        finally:
            for timer in self._timers.values():
                timer.cancel()

    def spawn(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run *work*, which handles its own errors; should it die of one, that is a part that has died."""
        return self._tasks.start(name, work)

    def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run *work*, and run it again, with growing pauses, each time the database goes away under it."""
        return self.spawn(name, partial(self._guarded, name, partial(self._kept, name, work)))

    def every(self, period_s: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run *work* as `keep` does, and again *period_s* seconds, with jitter, after it was done.

        In between it costs a timer, and no task.
        """

        async def this_time() -> None:
            await self._kept(name, work)
            again = asyncio.get_running_loop().call_later(jitter(period_s), self.every, period_s, name, work)
            self._timers[name] = again

        _ = self.spawn(name, partial(self._guarded, name, this_time))

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncGenerator[None, None]:
        """Raise `TimeoutError` in the block after *seconds*, and the `SubsystemFailed` of a part as soon as it dies."""
        try:
            async with asyncio.timeout(seconds) as limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if self.failure is not None:
                raise self.failure from None
            raise

    def report(self, name: str, error: Exception) -> None:
        """Note that the part *name* has died of *error*, and let nobody wait for what it does."""
        log.error(SUBSYSTEM_FAILED, subsystem=name, error=repr(error), exc_info=error)
        failure = SubsystemFailed(name, error)
        failure.__cause__ = error
        self.failures.append(failure)
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(0)  # long past by the loop's clock

    async def _guarded(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run *work*, and hear in the very step in which it dies: the next dispatch is to know."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - one dead part must not cancel its siblings; it is reported
            self.report(name, error)

    async def _kept(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await work()
            except StorageUnavailable as error:
                # One that ran for a while has recovered: it begins counting anew.
                failures = 1 if loop.time() - started > RECONNECT.longest.total_seconds() else failures + 1
                wait_s = RECONNECT.delay_s(failures)
                log.warning(SUBSYSTEM_RESTARTED, subsystem=name, error=str(error), wait_s=wait_s)
                await asyncio.sleep(wait_s)
            else:
                return
