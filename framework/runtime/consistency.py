"""Waits until named handlers have passed a position."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Collection, Iterable, Mapping
from itertools import count

import attrs

from framework.errors import UnknownHandler


@attrs.define(eq=False)
class Progress:
    """How far one handler has come, and who waits for it."""

    types: frozenset[str]
    position: int = 0
    _waiting: list[tuple[int, int, asyncio.Future[None]]] = attrs.field(
        factory=list[tuple[int, int, asyncio.Future[None]]]
    )
    _tickets: count[int] = attrs.field(factory=count)

    def advance(self, position: int) -> None:
        """Note that everything up to *position* is durably handled, and release those who waited for it."""
        self.position = max(self.position, position)
        while self._waiting and self._waiting[0][0] <= self.position:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)

    async def reach(self, position: int) -> None:
        """Return when everything up to *position* is durably handled."""
        if self.position >= position:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (position, next(self._tickets), future))
        await future


class ConsistencyWaits:
    """The progress of every handler this process runs."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}

    def register(self, name: str, types: Iterable[str]) -> Progress:
        """Add a handler of events of *types*, and return where its progress is noted."""
        progress = self._progress[name] = Progress(frozenset(types))
        return progress

    def interested_in(self, types: Collection[str]) -> list[str]:
        """Return the handlers that handle at least one of *types*."""
        return [name for name, progress in self._progress.items() if not progress.types.isdisjoint(types)]

    def check(self, handlers: Iterable[str]) -> None:
        """Raise `UnknownHandler` if one of *handlers* is not run here."""
        for name in handlers:
            if name not in self._progress:
                raise UnknownHandler(name, self._progress)

    async def wait_for(self, position: int, handlers: Collection[str], *, timeout_s: float) -> Mapping[str, str]:
        """Wait until *handlers* have durably handled everything up to *position*, at most *timeout_s* seconds.

        Returns each handler's name with `handled` or `late`. Cancellation is safe: nothing is consumed.
        """
        reached = {name: self._progress[name].position >= position for name in handlers}
        try:
            async with asyncio.timeout(timeout_s):
                for name in handlers:
                    await self._progress[name].reach(position)
                    reached[name] = True
        except TimeoutError:
            reached = {name: self._progress[name].position >= position for name in handlers}
        return {name: "handled" if done else "late" for name, done in reached.items()}
