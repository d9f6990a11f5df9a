"""Many commands, a bounded number of them on their way at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager

from framework.errors import (
    DispatchTimeout,
    InvalidOption,
    NotRunning,
    OutcomeUnknown,
    SomeFailed,
    StorageUnavailable,
    SubsystemFailed,
)
from framework.messages import DispatchResult
from framework.middleware import CommandContext
from framework.runtime.dispatcher import Dispatcher

NO_FAULT_OF_A_COMMAND = (DispatchTimeout, NotRunning, OutcomeUnknown, StorageUnavailable, SubsystemFailed)
"""Errors after which the next command would fare no better."""


class Bulk:
    """Commands on their way to an answer each, in their order for each aggregate."""

    def __init__(
        self, dispatcher: Dispatcher, commands: Iterable[object], order: Callable[[int, object], CommandContext]
    ) -> None:
        """*order* says how the command at a place is dispatched."""
        self._dispatcher = dispatcher
        self._left = enumerate(commands)
        self._order = order
        self._results: list[DispatchResult | None] = []
        self._errors: dict[int, Exception] = {}
        self._stopped_by: Exception | None = None
        self._broken: Exception | None = None
        self._last: dict[str, asyncio.Event] = {}
        """For each stream, what its latest command sets when it is answered."""

    async def run(self, at_once: int) -> Sequence[DispatchResult]:
        """Return the results; raises what `Application.dispatch_many` says."""
        if at_once < 1:
            raise InvalidOption(f"at_once={at_once} lets nothing through: give 1 or more")
        async with asyncio.TaskGroup() as workers:
            for _ in range(at_once):
                workers.create_task(self._work())
        if self._broken is not None:
            raise self._broken
        if self._errors:
            raise SomeFailed(self._results, self._errors, was_stopped=self._stopped_by is not None)
        return [result for result in self._results if result is not None]

    async def _work(self) -> None:
        # All workers take from one iterator: what is taken in order reaches its mailbox in order, because nothing
        # awaits in between but a middleware, and for that there is `_in_turn`.
        for place, command in self._begun():
            try:
                order = self._order(place, command)
                async with self._in_turn(command):
                    self._results[place] = await self._dispatcher.dispatch(order)
            except Exception as error:  # noqa: BLE001 - one that fails must not stop the others; it is raised in the end
                self._errors[place] = error
                if isinstance(error, NO_FAULT_OF_A_COMMAND):
                    self._stopped_by = error

    def _begun(self) -> Iterator[tuple[int, object]]:
        while self._stopped_by is None and self._broken is None:
            try:
                place, command = next(self._left)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - what was begun runs to its end; then it is raised
                self._broken = error
                return
            self._results.append(None)
            yield place, command

    @asynccontextmanager
    async def _in_turn(self, command: object) -> AsyncGenerator[None, None]:
        """Wait until the command before this one for the same aggregate is answered, where one could overtake it."""
        stream = self._dispatcher.ordered_by(command)
        if stream is None:
            yield
            return
        before, mine = self._last.get(stream), asyncio.Event()
        self._last[stream] = mine
        try:
            if before is not None:
                await before.wait()
            yield
        finally:
            mine.set()
            if self._last[stream] is mine:
                del self._last[stream]
