"""Finds, starts and retires actors."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from framework.errors import InvalidIdentity, NotRunning
from framework.policies import Defaults
from framework.router import Registration
from framework.runtime.actor import Actor
from framework.runtime.health import Mailboxes
from framework.runtime.replica import Replica
from framework.runtime.rounds import Means, Rounds
from framework.runtime.states import States


class Spawner(Protocol):
    """Something that owns tasks."""

    def spawn(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]: ...


class Actors:
    """The live aggregates of this process, at most one actor for each stream."""

    def __init__(self, states: States, means: Means, defaults: Defaults, tasks: Spawner) -> None:
        self._states = states
        self._means = means
        self._defaults = defaults
        self._tasks = tasks
        self._live: OrderedDict[str, Actor] = OrderedDict()  # the least recently used first
        self._leaving: dict[str, Actor] = {}
        """Those retired to make room, which end once nothing waits for them."""
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._live) + len(self._leaving)

    @property
    def mailboxes(self) -> Mailboxes:
        """How full the mailboxes are."""
        waiting, fullest = 0, None
        for actor in (*self._live.values(), *self._leaving.values()):
            waiting += len(actor.mailbox)
            if actor.mailbox and (fullest is None or len(actor.mailbox) > len(fullest.mailbox)):
                fullest = actor
        return Mailboxes(
            waiting=waiting,
            fullest=None if fullest is None else fullest.stream,
            fullest_waiting=0 if fullest is None else len(fullest.mailbox),
            limit=self._defaults.mailbox_limit,
        )

    def find(self, stream: str, registration: Registration) -> Actor:
        """Return the actor of *stream*, started if need be. Hand it the command before the next `await`.

        Raises `InvalidIdentity` if the stream is that of another kind of aggregate, `NotRunning` after `stop`.
        """
        if self._is_stopping:  # a middleware may have held a command back for longer than the application was open
            raise NotRunning("stopping")
        actor = self._live.get(stream) or self._leaving.get(stream)
        if actor is None:
            self._make_room()
            actor = self._start(stream, registration)
        elif actor.registration is not registration:
            other = actor.registration.aggregate.__name__
            raise InvalidIdentity(registration.aggregate, stream, f"is the stream of a {other}: give another prefix")
        elif stream in self._leaving:
            self._make_room()
            del self._leaving[stream]
            self._live[stream] = actor
            actor.stay()
        else:
            self._live.move_to_end(stream)
        return actor

    async def stop(self, within_s: float) -> None:
        """Let every actor finish what it has accepted; after *within_s* seconds those still at it are cancelled."""
        self._is_stopping = True
        for actor in self._live.values():
            actor.retire()
        if running := [actor.task for actor in (*self._live.values(), *self._leaving.values()) if actor.task]:
            _, late = await asyncio.wait(running, timeout=within_s)
            for task in late:
                task.cancel()

    def _make_room(self) -> None:
        while self._live and len(self._live) >= self._defaults.live_at_most:
            stream, oldest = self._live.popitem(last=False)
            self._leaving[stream] = oldest
            oldest.retire()

    def ended(self, actor: Actor) -> None:
        """Find *actor* no more."""
        for actors in (self._live, self._leaving):
            if actors.get(actor.stream) is actor:
                del actors[actor.stream]
        self._means.watch.ended(actor.registration.aggregate)

    def _start(self, stream: str, registration: Registration) -> Actor:
        rounds = Rounds(Replica(stream, registration, self._states), self._means)
        actor = Actor(rounds, self._defaults.mailbox_limit, self._means.watch, self)
        self._live[stream] = actor
        self._means.watch.started(registration.aggregate)
        actor.task = self._tasks.spawn(f"actor {stream}", actor.run)
        return actor
