"""What the runtime tells of its work to who watches it: by default to nobody, at next to no cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import Any, Final, Protocol

from framework.messages import Recorded
from framework.middleware import CommandContext, Middleware
from framework.store.batches import SentBatch
from framework.store.subscriptions import SlotLag


class Caller(Protocol):
    """A command as it was asked for."""

    @property
    def order(self) -> CommandContext:
        """What is to be decided."""
        ...

    @property
    def context(self) -> Context:
        """Its caller's."""
        ...

    @property
    def asked_at(self) -> float:
        """When, by the loop's clock."""
        ...


class Watch:
    """One who is told nothing: the form of those who are. What it raises would end what it watches, so it must not."""

    def opened(self) -> Watch:
        """Return who is told while the application is open that opens now."""
        return self

    @property
    def layers(self) -> Sequence[Middleware]:
        """Return what is to lie around every dispatch, outside of all middleware."""
        return ()

    @property
    def wants_lag(self) -> bool:
        """Whether to be told how far the slots that run here are behind."""
        return False

    def lagging(self, log: str, slots: Sequence[SlotLag]) -> None:
        """Hear how far the slots are behind that run here, of the log that is called so: all of them each time."""

    def delivering(self, handler: str, slot: int, events: int) -> AbstractContextManager[object]:
        """Watch so many events be brought to a slot of *handler*, with all attempts. What ends it leaves the block."""
        del handler, slot, events
        return _UNWATCHED

    @property
    def watches_events(self) -> bool:
        """Whether `handling` and `projecting` are to be called at all: it is done for every event that is handled."""
        return False

    def handling(self, handler: str, events: Sequence[Recorded[Any]]) -> AbstractContextManager[object]:
        """Watch *handler* be given *events*, once: one event, or those of a `handle_batch`. Errors leave the block."""
        del handler, events
        return _UNWATCHED

    def projecting(self, projector: str, events: Sequence[Recorded[Any]]) -> AbstractContextManager[object]:
        """Watch *projector* be given *events*, as `handling` does: one event, or those of a `project_batch`."""
        del projector, events
        return _UNWATCHED

    def deciding(
        self, stream: str, order: CommandContext, first_version: int, events: Sequence[object]
    ) -> AbstractContextManager[object]:
        """Watch a command be decided, in its caller's context: at the end of the block *events* are what it led to.

        The first of them would be of *first_version*. An error that leaves the block is its refusal, or its failure.
        """
        del stream, order, first_version, events
        return _UNWATCHED

    def appending(
        self, streams: Sequence[str], events: int, callers: Sequence[Caller]
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Watch an append of so many *events*; the block is to say which position it came to."""
        del streams, events, callers
        return _UNTOLD

    def rehydrating(
        self, aggregate: type, stream: str, callers: Sequence[Caller]
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Watch a state be folded that *callers* wait for; the block is to say of how many events."""
        del aggregate, stream, callers
        return _UNTOLD

    @property
    def wants_batches(self) -> bool:
        """Whether to be told of the batches that the store sends."""
        return False

    def committed(self, log: str, batch: SentBatch) -> None:
        """Hear that *batch* was sent to the database of the log that is called so, and answered."""

    def taken(self, aggregate: type, callers: Sequence[Caller]) -> None:
        """Hear that an actor has taken *callers* in hand together."""

    def conflicted(self, aggregate: type) -> None:
        """Hear that another writer was first."""

    def started(self, aggregate: type) -> None:
        """Hear that an actor has come to life."""

    def ended(self, aggregate: type) -> None:
        """Hear that it has gone."""


def _unheard(_number: int) -> None:
    """Tell nobody."""


_UNWATCHED: Final = nullcontext()
_UNTOLD: Final = nullcontext(_unheard)

UNWATCHED: Final = Watch()
"""Nobody watches."""
