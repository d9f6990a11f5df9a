"""How an application is, for who asks whether to send it work, to leave it alone, or to start it anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import attrs

from framework.errors import SubsystemFailed
from framework.store.health import StoreHealth
from framework.store.subscriptions import Lease


@attrs.frozen
class Mailboxes:
    """The commands that wait at the aggregates of this process."""

    waiting: int
    """At all of them together."""
    fullest: str | None
    """The stream at which the most wait; None where none do."""
    fullest_waiting: int
    limit: int
    """How many may wait at one; whoever comes then waits for room."""


@attrs.frozen
class Health:
    """An application at one moment."""

    state: Literal["closed", "open", "stopping", "failed"]
    """`failed` where a part has died: it takes no more commands, and only starting it anew helps."""
    failures: tuple[SubsystemFailed, ...] = ()
    """The parts that have died, in that order; the cause of each is its `__cause__`."""
    store: StoreHealth | None = None
    """None where it did not answer."""
    store_error: str | None = None
    """Why it did not."""
    slots: tuple[Lease, ...] = ()
    """What this process runs of its handlers, projectors and processes; the rest, other processes do."""
    halted: Mapping[Lease, str] = attrs.field(factory=dict[Lease, str])
    """Which of them stand still before an event that failed, and what is wrong; see `Halt`."""
    live_actors: int = 0
    mailboxes: Mailboxes | None = None
    """None where it is not open."""

    @property
    def is_healthy(self) -> bool:
        """Whether there is nothing that keeps it from its work."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """What keeps it from its work, a sentence each; none where it is healthy."""
        return tuple(self._reasons())

    def _reasons(self) -> Iterator[str]:
        if self.state in {"closed", "stopping"}:
            yield f"the application is {self.state}"
        yield from map(str, self.failures)
        if self.store_error is not None:
            yield f"the store does not answer: {self.store_error}"
        if self.store is not None:
            for trouble in dict.fromkeys(self.store.troubles):
                yield f"appends do not arrive: {trouble}"
        for lease, trouble in self.halted.items():
            yield f"slot {lease.slot} of {lease.name}: {trouble}"
        mailboxes = self.mailboxes
        if mailboxes is not None and mailboxes.fullest_waiting >= mailboxes.limit:
            yield f"{mailboxes.fullest}: the mailbox is full with {mailboxes.fullest_waiting} commands"


CLOSED = Health("closed")
"""What is not open."""
