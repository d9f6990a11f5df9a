"""The relay of a slot, as a task while there is something to send, and none while there is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from framework.clock import Clock
from framework.errors import LeaseLost
from framework.policies import POLL_SECONDS
from framework.runtime.processes.relay import Bell, Relay

Begin = Callable[[str, Callable[[], Awaitable[None]]], asyncio.Task[None]]
"""Starts a task of that name for what it is given, and runs that anew after `StorageUnavailable`."""


class Errands:
    """What the owner of a slot sends: begun when something is stored, and when what is scheduled is due."""

    def __init__(self, name: str, relay: Callable[[Bell], Relay], begin: Begin, clock: Clock) -> None:
        """Have that run by *begin* which *relay* returns for a bell."""
        self.bell = Bell(self._wake)
        self._name = name
        self._relay = relay(self.bell)
        self._begin = begin
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._withdraw: Callable[[], None] | None = None
        self._is_ended = False

    def end(self) -> asyncio.Task[None] | None:
        """Begin nothing more, and cancel what is on its way; return the task that ends, if there is one.

        What it has on its way is sent again, under the same ids, by whoever has the slot next.
        """
        self._is_ended = True
        self._disarm()
        self._relay.end()
        if self._task is not None:
            self._task.cancel()
        return self._task

    async def at_rest(self) -> None:
        """Return when nothing is on its way, and nothing waits to be sent but behind what is parked."""
        await self._relay.at_rest()

    def _wake(self) -> None:
        if self._task is None and not self._is_ended:
            self._disarm()
            self._task = self._begin(self._name, self._run)

    async def _run(self) -> None:
        try:
            await self._relay.drain()
        except LeaseLost:
            # If it is not, but was only late to be renewed, nobody else says when it is good again.
            self._timer = asyncio.get_running_loop().call_later(POLL_SECONDS, self.bell.ring)
        else:
            if (due_at := self._relay.next_due) is not None:
                self._withdraw = self._clock.alarm(due_at, self.bell.ring)
                self._watch_clock()
        # In the step in which it has looked: whoever rings from here on finds no task, and begins one.
        self._task = None
        if self._is_ended:
            self._disarm()

    def _watch_clock(self) -> None:
        """Ring when the next timer is due; an alarm is late where the clock was set meanwhile, or the machine slept."""
        if self._relay.next_due is not None and self._relay.next_due <= self._clock.now():
            self.bell.ring()
        else:
            self._timer = asyncio.get_running_loop().call_later(POLL_SECONDS, self._watch_clock)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._withdraw is not None:
            self._withdraw()
        self._timer = self._withdraw = None
