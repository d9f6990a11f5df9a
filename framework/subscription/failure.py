"""What happens when an event fails: it is tried again, and then somebody decides what becomes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import attrs

from framework.errors import LeaseLost, StorageUnavailable
from framework.journal import Item, Several, Unreadable
from framework.messages import Cause, Recorded, current_cause
from framework.observe import EVENT_PARKED, EVENT_RECEIVED, EVENT_SKIPPED, HANDLER_RETRY, POLICY_FAILED, caused, log
from framework.policies import Backoff
from framework.reactions import Halt, Park, Reaction, Retry, Skip
from framework.subscription.slots import Hold

OnError = Callable[[Recorded[Any], Exception, int], Reaction]

Watching = Callable[[Sequence[Recorded[Any]]], AbstractContextManager[object]]
"""Watches a user's own code be given events."""


class Halted(Exception):
    """A slot stands still before an event; its cause is the error that the event ended in."""

    def __init__(self, position: int) -> None:
        self.position = position
        super().__init__(f"it stands still before position {position}")


@attrs.frozen
class Failure:
    """An event that is not tried any more, for now."""

    reaction: Skip | Park | Halt
    error: Exception
    attempts: int

    @property
    def text(self) -> str:
        """What is kept of the error."""
        return f"{type(self.error).__name__}: {self.error}"


@attrs.frozen
class Policy:
    """What a handler and its application say of events that fail."""

    name: str
    on_error: OnError
    retry: Backoff
    after_retries: Park | Skip | Halt

    def judge(self, item: Item, error: Exception, attempts: int) -> Reaction:
        """Return what becomes of *item* after so many *attempts*."""
        if isinstance(item, Unreadable):
            return self.after_retries  # nobody can be asked about it, and it does not change by waiting
        try:
            reaction = self.on_error(item.pieces[0] if isinstance(item, Several) else item, error, attempts)
        except Exception as fault:  # noqa: BLE001 - the handler's own code again: it has not decided, so that is done here
            log.error(POLICY_FAILED, handler=self.name, position=item.position, error=repr(fault), exc_info=fault)
            return self.after_retries
        if isinstance(reaction, Retry) and reaction.after is None and attempts >= self.retry.attempts:
            return self.after_retries
        return reaction

    async def attempt(
        self, item: Item, hold: Hold, work: Callable[[], Awaitable[None]], *, failed: Exception | None = None
    ) -> Failure | None:
        """Await *work* until it succeeds, and return None; or the failure, once that is final.

        With *failed*, what a first attempt has ended in already, that one counts. A database that is away, and a lease
        that is lost, are no fault of the event: they are raised, and so is `Halted`.
        """
        attempts = 0
        while (error := failed or await _failing(work)) is not None:
            failed = None
            attempts += 1
            reaction = self.judge(item, error, attempts)
            if not isinstance(reaction, Retry):
                return self._final(item, Failure(reaction, error, attempts))
            wait_s = self.retry.delay_s(attempts) if reaction.after is None else reaction.after.total_seconds()
            log.warning(
                HANDLER_RETRY,
                handler=self.name,
                position=item.position,
                attempt=attempts,
                error=repr(error),
                wait_s=wait_s,
            )
            hold.failing = f"{type(error).__name__}: {error}"
            await hold.pause(wait_s)
        return None

    def _final(self, item: Item, failure: Failure) -> Failure:
        if not isinstance(failure.reaction, Halt):
            name = EVENT_PARKED if isinstance(failure.reaction, Park) else EVENT_SKIPPED
            log.error(
                name,
                handler=self.name,
                position=item.position,
                stream=item.stream,
                attempts=failure.attempts,
                error=failure.text,
                exc_info=failure.error,
            )
        return failure


async def _failing(work: Callable[[], Awaitable[None]]) -> Exception | None:
    """Await *work*, and return what it failed with, if it did."""
    try:
        await work()
    except (LeaseLost, StorageUnavailable, Halted):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a handler's own code raises is for its policy to judge
        return error
    return None


def handling(
    name: str, events: Sequence[Recorded[Any]], watching: Watching | None = None
) -> AbstractContextManager[None]:
    """Make the last of *events* the cause of all that happens in the block, on behalf of the handler *name*."""
    event = events[-1]
    outer = current_cause.get()
    handlers = (name,) if outer is None else (*outer.handlers, name)
    block: AbstractContextManager[None] = _Caused(Cause(event.correlation_id, event.event_id, handlers))
    if log.is_heard:
        block = _logged(name, event, block)
    return block if watching is None else _watched(watching(events), block)


class _Caused:
    # Not a generator: there is one for each event of a handler, and it would cost twice as much.
    __slots__ = ("_cause", "_token")

    def __init__(self, cause: Cause) -> None:
        self._cause = cause

    def __enter__(self) -> None:
        self._token = current_cause.set(self._cause)

    def __exit__(self, *_: object) -> None:
        current_cause.reset(self._token)


@contextmanager
def _logged(name: str, event: Recorded[Any], block: AbstractContextManager[None]) -> Generator[None, None, None]:
    with block, caused(correlation_id=event.correlation_id, causation_id=event.event_id, handler=name):
        log.debug(
            EVENT_RECEIVED,
            type=event.type,
            stream=event.stream,
            version=event.version,
            position=event.position,
        )
        yield


@contextmanager
def _watched(
    watched: AbstractContextManager[object], block: AbstractContextManager[None]
) -> Generator[None, None, None]:
    with watched, block:
        yield
