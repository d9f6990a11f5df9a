"""Owns every task of an application: starts them, restarts those that lost their database, reports the dead.

A task group may only be left by the task that entered it, and an application is entered by whoever likes. So the group
lives in a task of its own, and everything runs inside that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from framework.errors import StorageUnavailable, SubsystemFailed
from framework.observe import SUBSYSTEM_FAILED, SUBSYSTEM_RESTARTED, log
from framework.policies import RECONNECT


class Supervisor:
    """The task group of an application, and what has died in it."""

    def __init__(self) -> None:
        self.failures: list[SubsystemFailed] = []
        """The parts that have died, in that order."""
        self._group = asyncio.TaskGroup()
        self._main: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()

    @property
    def failure(self) -> SubsystemFailed | None:
        """The first part that died, if one did."""
        return self.failures[0] if self.failures else None

    async def start(self) -> None:
        """Begin to own tasks."""
        ready = asyncio.Event()
        self._main = asyncio.create_task(self._own(ready), name="application")
        await ready.wait()

    async def end(self) -> None:
        """Cancel what still runs, and return when all of it has ended."""
        if self._main is None:
            return
        self._ending.set()
        await self._main

    def spawn(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run *work*, which handles its own errors."""
        task = self._group.create_task(self._guarded(name, work), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run *work*, and run it again, with growing pauses, each time the database goes away under it."""
        return self.spawn(name, partial(self._kept, name, work))

    async def _own(self, ready: asyncio.Event) -> None:
        async with self._group:
            ready.set()
            await self._ending.wait()
            # A group ends by waiting for its tasks, and some of these never end by themselves.
            for task in tuple(self._running):
                task.cancel()

    async def _guarded(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - one dead part must not cancel its siblings; it is reported
            log.error(SUBSYSTEM_FAILED, subsystem=name, error=repr(error), exc_info=error)
            failure = SubsystemFailed(name, error)
            failure.__cause__ = error
            self.failures.append(failure)

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
