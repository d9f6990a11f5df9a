"""When callers stop waiting: those whose time ends at nearly the same moment share one alarm.

A timer of the loop for each dispatch would cost more than the decision does.
"""

from __future__ import annotations

import asyncio
from typing import Final

from framework.runtime.requests import Request

GRANULE_S: Final = 0.01
"""So much later than asked for a caller may be told, at most."""


class Deadline:
    """A moment at which some callers have waited long enough."""

    __slots__ = ("_alarm", "_moments", "_number", "_waiting")

    def __init__(self, moments: dict[int, Deadline], number: int) -> None:
        self._moments = moments
        self._number = number
        self._waiting: set[Request] = set()
        self._alarm = asyncio.get_running_loop().call_at(number * GRANULE_S, self._ring)

    @property
    def is_over(self) -> bool:
        """Whether it has come, or nobody waits for it any more."""
        return self._moments.get(self._number) is not self

    def add(self, request: Request) -> None:
        """Have *request* expire then, unless it is removed before."""
        self._waiting.add(request)

    def remove(self, request: Request) -> None:
        """Let go of *request*; of itself when nobody is left."""
        self._waiting.discard(request)
        if not self._waiting and not self.is_over:
            self._alarm.cancel()
            del self._moments[self._number]

    def _ring(self) -> None:
        del self._moments[self._number]
        waiting, self._waiting = self._waiting, set()
        for request in waiting:
            request.expire()


class Deadlines:
    """The deadlines of all who wait."""

    def __init__(self) -> None:
        self._moments: dict[int, Deadline] = {}

    def enter(self, request: Request) -> Deadline:
        """Have *request* expire when its time is over; return from where to remove it when it is answered."""
        number = int((asyncio.get_running_loop().time() + request.terms.timeout_s) / GRANULE_S) + 1
        deadline = self._moments.get(number)
        if deadline is None:
            deadline = self._moments[number] = Deadline(self._moments, number)
        deadline.add(request)
        return deadline
