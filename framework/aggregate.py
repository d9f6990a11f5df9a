"""An aggregate: a frozen value that decides what happens, and folds what has happened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, Self, TypeVar

from framework.errors import InvalidDecision

C = TypeVar("C")
E = TypeVar("E")


class Aggregate(ABC, Generic[C, E]):
    """The consistency boundary: one stream of events, one decision at a time.

    Subclass it as a frozen attrs class whose fields all have defaults (the state before the first event), and name
    the commands it takes and the events it yields in its base:
    `class Account(Aggregate[Open | Close, Opened | Closed])`.
    """

    __slots__ = ()

    @abstractmethod
    def execute(self, command: C) -> Iterable[E]:
        """Yield the events that *command* leads to in this state; none if it changes nothing.

        Raise a `CommandRejected` to refuse: whatever was yielded before is forgotten. An event's effect is seen by
        `self.apply(event)`. It may run several times for one command, so it reads no clock but `framework.clock` and
        has no side effects.
        """

    @abstractmethod
    def apply(self, event: E) -> Self:
        """Return the state after *event*. It has happened: there is nothing to refuse."""

    def fold(self, events: Iterable[E]) -> Self:
        """Return the state after all *events*, in order; raises `InvalidDecision` if `apply` returns no state."""
        cls, state = type(self), self
        for event in events:
            state = state.apply(event)
            if type(state) is not cls:
                message = f"{cls.__qualname__}.apply returned {state!r} for {event!r}, not the state after it"
                raise InvalidDecision(message)
        return state
