"""Settings, each with its unit and its default."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs

from framework.clock import jitter
from framework.errors import ConfigurationError
from framework.messages import Consistency
from framework.reactions import PARK, Halt, Park, Skip


@attrs.frozen
class Backoff:
    """Waiting longer after each failure, with jitter, a bounded number of times."""

    attempts: int = 8
    """How often in all something is tried."""
    first: timedelta = timedelta(seconds=3)
    factor: float = 2.0
    longest: timedelta = timedelta(minutes=5)

    def delay_s(self, failures: int) -> float:
        """Return the seconds to wait after *failures* failures in a row, at least half of the exponential step."""
        # The exponent is bounded because a float overflows long before anything stops counting.
        step = self.first.total_seconds() * self.factor ** min(failures - 1, 64)
        return jitter(min(step, self.longest.total_seconds()))


def _no_less_than_nothing(_: object, field: attrs.Attribute[timedelta], value: timedelta) -> None:
    if value < timedelta(0):
        seconds = value.total_seconds()
        raise ConfigurationError(f"{field.name} of {seconds:g} s is over before it begins: give 0 to stop at once")


@attrs.frozen
class Lifespan:
    """How long an aggregate stays in memory when no more commands come; the next one brings it back.

    A time of nothing sends it away as soon as nothing waits for it, `timedelta.max` keeps it.
    """

    idle_after: timedelta = attrs.field(default=timedelta(minutes=10), validator=_no_less_than_nothing)
    """After its last command."""
    after: Callable[[Any], timedelta | None] | None = None
    """Says how long after one message instead; None for `idle_after`.

    Called when a command is answered, with the last event it led to, or the command itself if there was none, or the
    error it came to. It has no part in the answer: should it fail, that is logged, and `idle_after` holds.
    """

    def idle_after_message(self, message: object) -> timedelta:
        """Return how long it stays after *message*; raises what `after` raises."""
        given = None if self.after is None else self.after(message)
        return self.idle_after if given is None else given


def _one_or_more(_: object, field: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ConfigurationError(f"a snapshot with {field.name}={value}: give 1 or more, or snapshots=None for none")


@attrs.frozen
class SnapshotEvery:
    """A snapshot of an aggregate's state every so many events: a shortcut for loading it, and never needed."""

    events: int = attrs.field(validator=_one_or_more)
    version: int = attrs.field(default=1, validator=_one_or_more)
    """Of what the state means: count it up when `apply` makes another state of the same events.

    Snapshots of other versions are passed over. A changed field is found out without it.
    """


@attrs.frozen
class Options:
    """How commands are dispatched; None leaves it open.

    A call goes before the registration of its command, that before its aggregate's, and that before `Defaults`.
    """

    timeout: timedelta | None = None
    """Until the answer; more than nothing. `timedelta.max` sets no limit."""
    consistency: Consistency | tuple[str, ...] | None = None
    """What to wait for after that: a `Consistency`, or the names of handlers."""
    retry: int | None = None
    """How often a command that lost to another writer is decided again; 0 for never."""
    lifespan: Lifespan | None = None
    """How long its aggregate stays in memory after it."""

    def over(self, outer: Options) -> Options:
        """Return these options, completed by *outer*."""
        return Options(
            timeout=outer.timeout if self.timeout is None else self.timeout,
            consistency=outer.consistency if self.consistency is None else self.consistency,
            retry=outer.retry if self.retry is None else self.retry,
            lifespan=self.lifespan or outer.lifespan,
        )

    @property
    def fault(self) -> str | None:
        """What is wrong with them, in words; None if nothing is."""
        if self.timeout is not None and self.timeout <= timedelta(0):
            seconds = self.timeout.total_seconds()
            return f"a timeout of {seconds:g} s leaves no time: give more, or timedelta.max for no limit"
        if self.retry is not None and self.retry < 0:
            return f"retry={self.retry} is less than never: give 0 to decide once"
        return None


@attrs.frozen
class Defaults:
    """What applies where neither a registration nor a call says otherwise."""

    dispatch_timeout: timedelta = timedelta(seconds=5)
    consistency: Consistency = Consistency.EVENTUAL
    """What a dispatch waits for."""
    consistency_timeout: timedelta = timedelta(seconds=5)
    conflict_retries: int = 10
    """How often a round that lost to another writer is decided again."""
    mailbox_limit: int = 1_000
    lifespan: Lifespan = Lifespan()
    live_at_most: int = 100_000
    """Aggregates in memory, those apart that have commands in hand; the least recently used leaves for a new one."""
    page: int = 1_000
    """Events read at once when a stream is loaded."""
    batch: int = 500
    """Events handed to a subscription at once."""
    handler_retry: Backoff = Backoff()
    after_retries: Park | Skip | Halt = PARK
    """What becomes of an event that has failed as often as that allows."""
    shutdown_timeout: timedelta = timedelta(seconds=30)
    receipts_kept: timedelta = timedelta(days=30)
    """How long the answer of a command is kept under its id: a repeat after that is decided anew.

    `timedelta.max` keeps it for ever.
    """


RECONNECT = Backoff(attempts=0, first=timedelta(milliseconds=100), longest=timedelta(seconds=2))
"""How the parts that must outlive their database wait for it; they never stop trying."""

CONFLICT = Backoff(first=timedelta(milliseconds=2), longest=timedelta(milliseconds=100))
"""How a round waits before it is decided again."""

LEASE = timedelta(seconds=6)
"""How long a process may say nothing and keep its slots."""

RENEW = timedelta(seconds=2)
"""How often it says that it lives."""

HEARTBEAT_WITHIN = timedelta(seconds=2)
"""How long the database may take to hear that; then it is said over another connection."""

REST_AFTER = timedelta(seconds=1)
"""How long nothing may be appended before what reads the log's end is let go, until something is."""

HEALTH_WITHIN = timedelta(seconds=2)
"""How long a store may take to say how it is."""

ANSWER_SECONDS = 7.0
"""How long the database may take over something that the store asks: more than an append waits for the head. After
that the connection counts as lost. With the time it takes to connect again it is less than ten seconds."""

TURN_SECONDS = 10.0
"""How long somebody waits for one of the connections there may be."""

POLL_SECONDS = 1.0
"""How often, with jitter, the head of the log is asked for when nothing was heard."""

PRUNE_SECONDS = 3_600.0
"""How often, with jitter, receipts and entries of an audit that are old enough are forgotten."""

SCHEDULES_SECONDS = 60.0
"""How often, with jitter, a process that has scheduled nothing looks whether others have."""

HEAD_WAIT_SECONDS = 5.0
"""How long an append waits for the head of the log before it looks who holds it; then it waits again."""

HOLD_AT_MOST = timedelta(seconds=5)
"""How long a caller's own transaction may hold the head of the log: all that time nobody else can append."""
