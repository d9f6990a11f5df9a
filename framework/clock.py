"""The only reader of time and randomness, so that a test can hold both still."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

import msgspec

_HALVES: Final = struct.Struct(">QQ")
"""The bytes of an id."""


class Clock(Protocol):
    """Where times and fresh ids come from."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...

    def new_id(self) -> UUID:
        """Return an id that nobody has had before."""
        ...

    def alarm(self, moment: datetime, ring: Callable[[], None]) -> Callable[[], None]:
        """Call *ring* in the running loop once *moment* has come, soon if it has; return what takes that back.

        It may ring too early, where a clock is set back: whoever hears it looks at the time.
        """
        ...


class SystemClock:
    """The machine's clock, and ids that sort by the millisecond they were made in.

    Ids are UUIDs of version 7 (RFC 9562, 5.7, with the 12-bit counter of 6.2 method 1): fresh ones lie side by side
    in an index.
    """

    def __init__(self) -> None:
        self._last = 0
        self._random: Iterator[int] = iter(())
        # A child process that had what is left of its parent's would give the same ids.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._random = iter(())

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        return datetime.now(UTC)

    def new_id(self) -> UUID:
        """Return a UUID of version 7, greater than all this clock has given before."""
        # Milliseconds and counter in one number: a full counter runs over into the next millisecond, and a clock
        # set back changes nothing until it has caught up.
        ticks = max(time.time_ns() // 1_000_000 << 12, self._last + 1)
        self._last = ticks
        randomness = next(self._random, None)
        if randomness is None:
            # Many at once: to ask the system for a few bytes takes longer than all else about an id.
            self._random = iter(struct.unpack("=512Q", os.urandom(4096)))
            randomness = next(self._random)
        head = (ticks >> 12 << 16) | 0x7000 | (ticks & 0xFFF)
        # By msgspec, which needs a third of the time that UUID does: it knows but one way to say one.
        return msgspec.convert(_HALVES.pack(head, 0x8000_0000_0000_0000 | randomness & 0x3FFF_FFFF_FFFF_FFFF), UUID)

    def alarm(self, moment: datetime, ring: Callable[[], None]) -> Callable[[], None]:
        """Call *ring* once *moment* has come."""
        remaining_s = (moment - self.now()).total_seconds()
        return asyncio.get_running_loop().call_later(max(remaining_s, 0.0), ring).cancel


SYSTEM_CLOCK: Clock = SystemClock()

_current: ContextVar[Clock] = ContextVar("framework_clock", default=SYSTEM_CLOCK)


def now() -> datetime:
    """Return the present moment by the clock of this context."""
    return _current.get().now()


def new_id() -> UUID:
    """Return a fresh id by the clock of this context."""
    return _current.get().new_id()


@contextmanager
def using(clock: Clock) -> Generator[None, None, None]:
    """Make *clock* the one that `now` and `new_id` read inside the block."""
    token = _current.set(clock)
    try:
        yield
    finally:
        _current.reset(token)


def jitter(seconds: float) -> float:
    """Return a duration between half of *seconds* and all of it, so that many who wait do not wake as one."""
    return seconds * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, guards nothing
