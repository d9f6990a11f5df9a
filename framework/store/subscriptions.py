"""What a store keeps of subscriptions: how each is defined, how far each of its slots has come, and who runs it.

A subscription is cut into slots, and a slot is run by one member at a time, which is an application of some process.
Which one is a matter of leases: a process says regularly that it lives, and one that has not for `LEASE` has lost the
slots of its members to whoever takes them. It may not know that. So each owner of a slot has a number, its fence, that
is greater than that of every owner before; progress is written with it, and refused if it is not the greatest any more.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeAlias
from uuid import UUID

import attrs

from framework.errors import SubscriptionChanged

Kind: TypeAlias = Literal["handler", "projector", "process"]

OnChange: TypeAlias = Literal["refuse", "keep", "reset"]
"""What becomes of a subscription whose definition has changed: nothing runs, it goes on, or it begins anew."""


@attrs.frozen
class Definition:
    """What makes a subscription the same one as before: recorded when it first runs, and compared ever after."""

    name: str
    types: tuple[str, ...] | None
    """The event types it wants, sorted; None for all."""
    partitions: int
    """How many slots it has, or is to have."""
    partition_by: str
    """What picks an event's slot: `stream`, or `key` for one of its own; `instance` where it may have several."""
    stream: str | None = None
    """The one stream whose events it wants; None for any."""
    prefix: str = ""
    """What the names of the streams begin with whose events it wants."""
    start_from: str = "origin"
    """What it began behind: `origin`, `now`, a position or a moment."""
    kind: Kind = "handler"
    """What reads it."""
    revision: int = 1
    """Which of its definitions is the later one."""

    @property
    def is_by_stream(self) -> bool:
        """Whether an event's stream says which slot it falls into."""
        return self.partition_by == "stream"

    def as_json(self) -> dict[str, Any]:
        """Return it in values that JSON gives back equal."""
        document = attrs.asdict(self)
        del document["name"]
        document["types"] = None if self.types is None else list(self.types)
        return document

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> Self:
        """Return the definition of *name* that was recorded as *document*."""
        fields: dict[str, Any] = dict(document)
        fields["types"] = None if fields["types"] is None else tuple(fields["types"])
        return cls(name, **fields)

    def is_run_as(self, other: Definition) -> bool:
        """Whether what is run by it is run as by *other*, but for the slots, which are as many as there are."""
        return attrs.evolve(self, revision=other.revision, partitions=other.partitions) == other

    def succeeds(self, known: Definition, on_change: OnChange) -> bool:
        """Say whether it is to be recorded in the place of *known*; False where it is run as that says.

        Raises `SubscriptionChanged` where it may not.
        """
        is_run_alike, is_earlier = self.is_run_as(known), self.revision < known.revision
        if is_run_alike and (is_earlier or self.partitions == known.partitions):
            return self.revision > known.revision
        remedy = None
        if self.kind != known.kind:
            remedy = "give it another name"
        elif self.kind == "projector" and not is_run_alike:
            remedy = "raise its version, and the new one is filled from the first event"
        elif on_change == "refuse":
            remedy = "raise its revision and say on_change = 'keep' or 'reset', or give it another name"
        elif self.revision <= known.revision:
            # Whoever is of an earlier release does not undo what a later one has recorded.
            remedy = f"raise its revision above {known.revision} if this is the later one, or give it another name"
        elif on_change == "keep" and self.partition_by != known.partition_by:
            remedy = "its keys would move to slots at other places: say on_change = 'reset', or give it another name"
        if remedy:
            raise SubscriptionChanged(self.name, known.as_json(), self.as_json(), remedy)
        return True


class Lease(NamedTuple):
    """The right to run a slot, until somebody has one with a greater fence."""

    name: str
    slot: int
    """From 0."""
    fence: int


def hash_of(key: str) -> int:
    """Return a number that is the same everywhere and for all time; its rest by the number of slots is a slot."""
    return zlib.crc32(key.encode())


@attrs.frozen
class Terms:
    """By what a slot is run, for as long as its lease is good."""

    definition: Definition
    """What is recorded of the subscription. Whoever has another one leaves the slot alone."""
    position: int
    """Everything up to here is durably handled, as the owner before said."""
    replayed_to: int
    """What comes up to here had come before, until the subscription was begun anew."""
    partitions: int
    """How many slots there are: the definition may want another number, which there are not yet."""
    until: int | None
    """Where it is to stand still, or before; None for nowhere."""


class SlotState(NamedTuple):
    """What is known of a slot."""

    name: str
    slot: int
    position: int
    """Everything up to here is durably handled, as the owner last said."""
    fence: int
    owner: UUID | None
    """The member that last took it and has not given it back; its process may be dead."""
    is_owned: bool
    """Whether that process has said lately that it lives."""


@attrs.frozen
class SubscriptionState:
    """A subscription as it is recorded, and where it stands."""

    definition: Definition
    slots: Sequence[SlotState]
    is_paused: bool
    """Whether it stands still because somebody said so, until `resume`."""
    is_held: bool
    """Whether its slots come to one position and stand still there, to be cut into another number of them."""

    @property
    def name(self) -> str:
        """What it is called by."""
        return self.definition.name

    @property
    def position(self) -> int:
        """Everything up to here is durably handled, in every slot, as its owner last said."""
        return min((slot.position for slot in self.slots), default=0)


class Cut(NamedTuple):
    """A subscription whose slots have all come to one position, and are to be others."""

    name: str
    partitions: int
    """How many slots it is to have."""
    position: int
    """Where all of them stand."""
    fence: int
    """Greater than that of every owner before, and less than that of every one after."""


class Report(NamedTuple):
    """What the owner of a slot says of it, now and then."""

    lease: Lease
    state: str
    """`running`, `retrying` while an event is tried again, or `halted` before one."""
    error: str | None
    """What that event ended in."""
    parked_keys: int
    """How many keys are held back."""
    rate: float
    """Events handled in a second, lately."""
    woken_by: str | None
    """How its process last heard that the log has grown; see `EventLog.woken_by`."""


class SlotLag(NamedTuple):
    """How far a slot is behind, and why."""

    name: str
    """The subscription's."""
    slot: int
    position: int
    """Everything up to here is durably handled, or nothing that it wants: written at once, or within two seconds."""
    head: int
    """The last position of the log."""
    events_behind: int
    """Events of the log that it has not come to, whether it wants them or not."""
    seconds_behind: float
    """How long the first of them has been there; 0 for none."""
    rate: float
    """Events handled in a second, lately."""
    owner: str | None
    """The process that runs it, as people call it; None where none does which lives."""
    state: str
    """`running`, `retrying`, `halted`; `paused` where somebody wanted that, `held` where it waits to be cut anew with
    others, `unowned` where nobody runs it."""
    error: str | None
    """What an event ended in that is tried again or halted at."""
    parked_keys: int
    woken_by: str | None
    """How its process last heard that the log has grown; see `EventLog.woken_by`."""
    reported_at: datetime | None
    """When its owner last had something new to say of it; None where none ever had."""


class ParkedEvent(NamedTuple):
    """An event that a subscription has set aside: it failed, or one of its key before it did."""

    name: str
    position: int
    """Where the log has it; nothing of what is in it is kept here."""
    key: str
    """What is held back with it; of a process, the instance. One event may be parked under several."""
    error: str | None
    """What its last attempt ended in; None for one that only stands behind another."""
    attempts: int
    parked_at: datetime
    asked: str | None = None
    """What somebody asked for and the slot's owner has not done yet: `retry` or `discard`."""


RETRY, DISCARD = "retry", "discard"
"""What can be asked for a parked event."""


@attrs.define(eq=False)
class Life:
    """A process as others see it: what it holds is its own until they may take it for dead."""

    until: float = math.inf
    """By the loop's clock."""


@attrs.frozen
class Share:
    """A member's part of the slots of the subscriptions it can run."""

    held: Sequence[Lease]
    surplus: Collection[Lease]
    """Those of *held* that others are entitled to: to be released once what is in hand is done."""
    life: Life
    """As long as this lasts, they are its own."""
    to_cut: Collection[str] = ()
    """Those subscriptions whose slots are held to be cut anew, and that nobody runs: what is next is to be done."""


class Member(Protocol):
    """Somebody who runs slots, and is told which. It is told in passing: nothing here waits."""

    def shared(self, share: Share) -> None:
        """Hear of its part, each time that it may be another, or that something may have been asked of it."""
        ...

    def failed(self, error: Exception) -> None:
        """Hear that it is told nothing any more: what it holds runs out."""
        ...


class Membership(Protocol):
    """A member's place among those who share the slots."""

    def lost(self) -> None:
        """Say that a slot was found to be another's: the member is told anew of its part, with the next heartbeat."""
        ...

    async def leave(self) -> None:
        """Give back all that the member holds; it is told nothing any more."""
        ...


class Subscriptions(Protocol):
    """Definitions, progress and leases."""

    async def define(self, definition: Definition, *, start: int, on_change: OnChange = "refuse") -> None:
        """Make the subscription with all slots at position *start*, unless it is there.

        If it is there with an earlier definition, *on_change* may have this one recorded in its place: its owners lose
        it, and what they have in hand is done, and not written. It goes on where it is, or begins anew behind *start*
        with nothing parked. Raises `SubscriptionChanged` where it is there with a definition that this one cannot
        succeed; nothing was changed.

        Where the number of slots is another, they are held, to be cut anew: see `level`.
        """
        ...

    async def level(self, name: str, places: Mapping[int, int]) -> Cut | None:
        """Have the slots of *name*, which are held, run up to the furthest of them, if nobody runs them.

        *places* says how far some of them have come in truth, where that is kept elsewhere. Returns how they are to be
        cut, once all have come to one position; None before, and where they are not held, or are run.
        """
        ...

    async def cut(self, cut: Cut) -> bool:
        """Cut the slots that `level` was answered about, if nothing has changed since; say whether that was done."""
        ...

    async def running(self) -> Sequence[Definition]:
        """Return the definitions of those subscriptions that some process can run which lives, by name."""
        ...

    async def join(self, names: Collection[str], member: Member) -> Membership:
        """Have *member* run its part of the slots of the subscriptions *names*; it has been told of it on return.

        Slots that nobody runs are taken. Of k members that can run a subscription of n slots, each comes to hold n/k of
        them, rounded up or down, and none is given away that need not be.
        """
        ...

    async def release(self, leases: Collection[Lease]) -> None:
        """Give back slots, for others to take at once; those that were lost already are left alone."""
        ...

    async def terms(self, lease: Lease) -> Terms:
        """Return by what the slot is run; raises `LeaseLost`."""
        ...

    async def advance(self, lease: Lease, position: int) -> None:
        """Say that the slot has come to *position*; raises `LeaseLost`, and has changed nothing then."""
        ...

    async def park(self, lease: Lease, events: Sequence[ParkedEvent], position: int) -> None:
        """Set *events* aside, say what is new of those that were, and move the slot to *position*; all or nothing.

        Raises `LeaseLost`, and has changed nothing then.
        """
        ...

    async def unpark(self, lease: Lease, position: int) -> None:
        """Forget that the event at *position* was set aside; raises `LeaseLost`."""
        ...

    async def parked(self, names: Collection[str] | None = None) -> Sequence[ParkedEvent]:
        """Return what the subscriptions *names*, or all, have set aside, by name, position and key."""
        ...

    async def ask(self, name: str, what: str, *, key: str | None = None, position: int | None = None) -> int:
        """Ask the owners of *name* to `RETRY` or `DISCARD` what is parked: all, a key, or one event.

        Returns how many events that is. It is done under the owner's lease, as soon as it has heard of it.
        """
        ...

    async def nudge(self) -> None:
        """Have all who run slots look up, soon: for what is asked of them, and to write down how far they have come."""
        ...

    async def slots(self, names: Collection[str] | None = None) -> Sequence[SlotState]:
        """Return the slots of the subscriptions *names*, or of all, by name and number."""
        ...

    async def states(self) -> Sequence[SubscriptionState]:
        """Return all subscriptions that are recorded, by name."""
        ...

    async def pause(self, name: str) -> None:
        """Have the subscription *name* stand still: its owners let go of it once what is in hand is done.

        It stays so, whoever starts or stops, until `resume`. Raises `UnknownSubscription`.
        """
        ...

    async def resume(self, name: str) -> None:
        """Have the subscription *name* go on where it was; raises `UnknownSubscription`."""
        ...

    async def reset(self, name: str, position: int) -> None:
        """Have the subscription *name* begin anew behind *position*, with nothing parked.

        Its owners lose it: what they have in hand is done, and not written. What comes again says so, see `Terms`.
        Raises `UnknownSubscription`.
        """
        ...

    async def delete(self, name: str) -> None:
        """Forget the subscription *name* and what it has parked.

        Raises `UnknownSubscription`, or `SubscriptionInUse` while a process that lives runs it.
        """
        ...

    async def report(self, reports: Sequence[Report]) -> None:
        """Write down what the owners of slots say of them; what one says who has lost his slot is passed over."""
        ...

    async def lag(self, names: Collection[str] | None = None) -> Sequence[SlotLag]:
        """Return how far the slots of the subscriptions *names*, or of all, are behind, by name and number."""
        ...


def fair_share(node: UUID, owners: Mapping[int, UUID | None], nodes: Collection[UUID]) -> tuple[list[int], list[int]]:
    """Return which slots *node* is to take, and which to give back.

    *owners* says who runs each slot, None where nobody does; *nodes* are those who live, *node* among them. If all do
    as it says, each comes to hold its fair part of the slots, rounded up or down, and no slot changes hands without
    need. All compute the same from the same *owners*; if these change meanwhile, the next time puts it right.
    """
    held = Counter(owner for owner in owners.values() if owner in nodes)
    free = [slot for slot, owner in owners.items() if owner not in nodes]
    mine = sorted(slot for slot, owner in owners.items() if owner == node)
    least, more = divmod(len(owners), len(nodes))
    most = least + bool(more)
    lacking = {each: max(0, least - held[each]) for each in nodes}

    # First what is due to it; one more if then something is left that is due to nobody.
    count = min(lacking[node], len(free))
    left = len(free) - sum(lacking.values())
    if left > 0 and len(mine) + count < most:
        count += 1
    # Two who look at the same moment should not reach for the same ones.
    free.sort(key=lambda slot: hash((node.int, slot)))

    given = 0
    missing = sum(lacking.values()) - len(free)
    while True:
        richest = max(nodes, key=lambda each: (held[each], each.int))
        if held[richest] <= (least if missing > 0 else most):
            break
        held[richest] -= 1
        missing -= 1
        given += richest == node
    return sorted(free[:count]), mine[len(mine) - given :]
