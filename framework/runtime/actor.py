"""One task per live aggregate: commands wait in its mailbox and are decided a round at a time.

A round is every command that waits when the actor looks. Each is decided on the state that the one before it left, and
the events of all go to the store as one append, so an aggregate under load commits many commands at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol

from framework.errors import AppendRefused, FrameworkError, NotRunning, OutcomeUnknown
from framework.observe import ACTOR_FAILED, log
from framework.router import Registration
from framework.runtime.mailbox import Mailbox
from framework.runtime.requests import Request
from framework.runtime.rounds import ROUND_LIMIT, Rounds
from framework.runtime.watch import Watch


class Owner(Protocol):
    """Who finds the actor for those who have commands for it."""

    def ended(self, actor: Actor) -> None:
        """Find *actor* no more."""
        ...


class Actor:
    """The one writer, in this process, of one aggregate's stream."""

    __slots__ = (
        "_alarm",
        "_due",
        "_has_ended",
        "_is_retiring",
        "_owner",
        "_turn",
        "_visitors",
        "_watch",
        "mailbox",
        "rounds",
        "task",
    )

    def __init__(self, rounds: Rounds, mailbox_limit: int, watch: Watch, owner: Owner) -> None:
        self.rounds = rounds
        self.mailbox: Mailbox[Request] = Mailbox(mailbox_limit)
        self.task: asyncio.Task[None] | None = None
        """What runs it, once it is started."""
        self._watch = watch
        self._owner = owner
        self._is_retiring = False
        self._has_ended = False
        self._due = math.inf
        """When it ends by itself if no more commands come, by the loop's clock."""
        self._alarm: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        """Held by whoever decides: the actor for a round, or a visitor."""
        self._visitors = 0

    @property
    def stream(self) -> str:
        """The stream it writes to."""
        return self.rounds.replica.stream

    @property
    def registration(self) -> Registration:
        """What is known of its kind of aggregate."""
        return self.rounds.replica.registration

    @asynccontextmanager
    async def visited(self) -> AsyncGenerator[Rounds, None]:
        """Give the right to decide: while the block runs, the actor serves nobody and does not end.

        Enter it in the step in which the actor was found. It is given in the order of asking. Raises `NotRunning` if
        the actor was stopped meanwhile.
        """
        self._visitors += 1
        try:
            async with self._turn:
                if self._has_ended:
                    raise NotRunning("stopping")
                yield self.rounds
        finally:
            self._visitors -= 1
            self._rest()
            self.mailbox.wake()

    def retire(self) -> None:
        """End the actor once nothing waits for it."""
        self._is_retiring = True
        self.mailbox.wake()

    def stay(self) -> None:
        """Take `retire` back. Only in the step in which the actor was found, or it may have ended."""
        self._is_retiring = False

    async def run(self) -> None:
        """Serve the mailbox until retired, or idle for as long as its lifespan allows.

        Returns in the same step in which it finds the mailbox quiet. Cancellation leaves nobody waiting: a command in
        hand is answered with `OutcomeUnknown`, one that waits with `NotRunning`.
        """
        round_: list[Request] = []
        now = asyncio.get_running_loop().time
        try:
            while True:
                if self.mailbox:
                    # Not `async with`, which takes three coroutines and is done for every command.
                    await self._turn.acquire()
                    try:
                        if round_ := self._take():
                            try:
                                await self.rounds.answer(round_)
                            except Exception as error:  # noqa: BLE001 - the actor must outlive a fault
                                await self._fail(round_, error)
                    finally:
                        self._turn.release()
                    round_ = []  # or one at rest would hold on to all that its last commands were and led to
                    self._rest()
                elif (self._is_retiring or now() >= self._due) and self.mailbox.is_quiet and not self._visitors:
                    # No `await` from here to where its owner finds it no more: a command can reach it before, or find
                    # no actor after, and never a dead one.
                    return
                else:
                    self._set_alarm()
                    await self.mailbox.filled()
        finally:
            self._has_ended = True
            if self._alarm is not None:
                self._alarm.cancel()
            for request in round_:
                request.settle(request.outcome_unknown(self.stream))
            for request in self.mailbox.close(NotRunning("stopping")):
                request.settle(NotRunning("stopping"))
            self._owner.ended(self)

    def _rest(self) -> None:
        """Count anew the time that the actor may be idle."""
        idle_after = self.rounds.idle_after
        idle_s = math.inf if idle_after == timedelta.max else idle_after.total_seconds()
        self._due = asyncio.get_running_loop().time() + idle_s

    def _set_alarm(self) -> None:
        """Have the actor look at the time when it is due."""
        # One that rings too early is set again then: a busy actor leaves it alone.
        if self._alarm is not None and self._alarm.when() > self._due:
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None and self._due < math.inf:
            self._alarm = asyncio.get_running_loop().call_at(self._due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.mailbox.wake()

    def _take(self) -> list[Request]:
        taken = [request for request in self.mailbox.take(ROUND_LIMIT) if not request.answer.done()]
        for request in taken:
            request.is_taken = True
        self._watch.taken(self.registration.aggregate, taken)
        return taken

    async def _fail(self, requests: Sequence[Request], error: Exception) -> None:
        """Tell those of *requests* that have no answer of the *error* they came to together."""
        if isinstance(error, AppendRefused) and len(requests) > 1:
            # The database takes exception to what one of them led to: each alone, so that it fails alone.
            for request in requests:
                if not request.answer.done():
                    try:
                        await self.rounds.answer([request])
                    except Exception as its_own:  # noqa: BLE001 - and the others have answers yet to come
                        await self._fail([request], its_own)
            return
        for request in requests:
            if isinstance(error, OutcomeUnknown):
                request.settle(request.outcome_unknown(error.stream))
            else:
                request.settle(error)
        if not isinstance(error, FrameworkError):
            log.error(ACTOR_FAILED, stream=self.stream, error=repr(error), exc_info=error)
            self.rounds.replica.forget()
