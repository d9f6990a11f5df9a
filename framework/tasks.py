"""Tasks that come and go with the work there is, and somebody who answers for them.

A task group would need a task of its own to hold it, for as long as it might be needed: a thousand tenants at rest
would be a thousand tasks. These cost nothing while there is nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class Tasks:
    """The tasks of one owner, who calls `finish` or `end` before it is gone."""

    def __init__(self, failed: Callable[[str, Exception], None] | None = None) -> None:
        """What a task does not handle is told to *failed*, with the task's name, or else raised at the end."""
        self._failed = failed
        self._running: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._running)

    def start(
        self, name: str, work: Callable[[], Coroutine[Any, Any, None]], *, context: Context | None = None
    ) -> asyncio.Task[None]:
        """Run *work*, in *context* if not in the caller's."""
        task = asyncio.get_running_loop().create_task(work(), name=name, context=context)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self) -> None:
        """Return when all have ended, with those that are started meanwhile; raises the first error of one of them."""
        while self._running:
            await asyncio.wait(self._running)
        self._tell()

    async def end(self) -> None:
        """Cancel all, and return when they have ended; raises as `finish` does."""
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running)
        self._tell()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and self._failed is not None:
            self._failed(task.get_name(), error)
        else:
            self._failure = self._failure or error

    def _tell(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
