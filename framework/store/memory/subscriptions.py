"""The reference implementation of `Subscriptions`, in this process's memory.

No method awaits between looking and acting, so each is atomic without a lock. Nobody here can die and leave its slots
behind: who joins, leaves, or gives back is known at once, and all are told.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import count
from uuid import UUID

import attrs

from framework.clock import SYSTEM_CLOCK, Clock
from framework.errors import LeaseLost, SubscriptionInUse, UnknownSubscription
from framework.store.protocol import StoredEvent
from framework.store.subscriptions import (
    Definition,
    Lease,
    Life,
    Member,
    Membership,
    OnChange,
    ParkedEvent,
    Report,
    Share,
    SlotLag,
    SlotState,
    SubscriptionState,
    Terms,
    fair_share,
)

OWNER = f"{socket.gethostname()}:{os.getpid()}"
"""What people call this process."""


@attrs.frozen(eq=False)
class _Part:
    """A member with its place: a `Membership`."""

    names: frozenset[str]
    member: Member
    id: UUID
    _subscriptions: MemorySubscriptions

    def lost(self) -> None:
        """Do nothing: who has lost a slot was told so before."""

    async def leave(self) -> None:
        """Give back all that the member holds."""
        self._subscriptions.leave(self)


@attrs.define
class _Slot:
    position: int
    fence: int
    owner: UUID | None = None
    replayed_to: int = 0
    held_at: int | None = None
    report: Report | None = None
    reported_at: datetime | None = None

    @property
    def is_held(self) -> bool:
        """Whether it has come to where it is to stand still."""
        return self.held_at is not None and self.position >= self.held_at


class MemorySubscriptions:
    """Definitions, progress and leases that last as long as the store."""

    def __init__(self, log: Sequence[StoredEvent] = (), clock: Clock = SYSTEM_CLOCK) -> None:
        """*log* is what they are behind."""
        self._log = log
        self._clock = clock
        self._definitions: dict[str, Definition] = {}
        self._slots: dict[tuple[str, int], _Slot] = {}
        self._parts: dict[UUID, _Part] = {}
        self._life = Life()  # as long as the log: who holds slots in this process's memory dies with it
        self._parked: dict[tuple[str, int, str], ParkedEvent] = {}
        """By name, position and key."""
        self._first_fences = count(step=1_000_000_000)
        """A life of a subscription that comes later has greater ones."""

    async def define(self, definition: Definition, *, start: int, on_change: OnChange = "refuse") -> None:
        """Make the subscription with all slots at position *start*, unless it is there."""
        known = self._definitions.setdefault(definition.name, definition)
        if known != definition and definition.succeeds(known, on_change):
            self._definitions[definition.name] = definition
            if not definition.is_run_as(known):
                self._begin_anew(definition.name, start if on_change == "reset" else None)
        for number in range(definition.partitions):
            if (definition.name, number) not in self._slots:
                self._slots[definition.name, number] = _Slot(start, next(self._first_fences))

    async def running(self) -> Sequence[Definition]:
        """Return the definitions of those subscriptions that some process can run which lives, by name."""
        names = {name for part in self._parts.values() for name in part.names}
        return [self._definitions[name] for name in sorted(names) if name in self._definitions]

    async def join(self, names: Collection[str], member: Member) -> Membership:
        """Have *member* run its part of the slots of the subscriptions *names*."""
        part = _Part(frozenset(names), member, SYSTEM_CLOCK.new_id(), self)
        self._parts[part.id] = part
        self._share_out()
        return part

    async def release(self, leases: Collection[Lease]) -> None:
        """Give back slots, for others to take at once."""
        for lease in leases:
            slot = self._slots[lease.name, lease.slot]
            if slot.fence == lease.fence:
                slot.owner = None
        self._share_out()

    def leave(self, part: _Part) -> None:
        """Give back all that *part* holds, and tell it nothing any more."""
        self._parts.pop(part.id, None)
        for slot in self._slots.values():
            if slot.owner == part.id:
                slot.owner = None
        self._share_out()

    async def terms(self, lease: Lease) -> Terms:
        """Return by what the slot is run; raises `LeaseLost`."""
        slot = self._held(lease)
        return Terms(self._definitions[lease.name], slot.position, slot.replayed_to)

    async def advance(self, lease: Lease, position: int) -> None:
        """Say that the slot has come to *position*; raises `LeaseLost`."""
        self._held(lease).position = position

    async def park(self, lease: Lease, events: Sequence[ParkedEvent], position: int) -> None:
        """Set *events* aside and move the slot to *position*; raises `LeaseLost`."""
        self._held(lease).position = position
        for event in events:
            place = event.name, event.position, event.key
            known = self._parked.get(place)
            attempts = event.attempts + (known.attempts if known else 0)
            self._parked[place] = event._replace(attempts=attempts, asked=None)

    async def unpark(self, lease: Lease, position: int) -> None:
        """Forget that the event at *position* was set aside; raises `LeaseLost`."""
        self._held(lease)
        self.forget([event for event in await self.parked([lease.name]) if event.position == position])

    def forget(self, events: Iterable[ParkedEvent]) -> None:
        """Forget that *events* were set aside."""
        for event in events:
            self._parked.pop((event.name, event.position, event.key), None)

    async def parked(self, names: Collection[str] | None = None) -> Sequence[ParkedEvent]:
        """Return what the subscriptions *names*, or all, have set aside, by name, position and key."""
        return [event for _, event in sorted(self._parked.items()) if names is None or event.name in names]

    async def ask(self, name: str, what: str, *, key: str | None = None, position: int | None = None) -> int:
        """Ask the owners of *name* to `RETRY` or `DISCARD` what is parked: all, a key, or one event."""
        meant = [
            event
            for event in await self.parked([name])
            if key in {None, event.key} and position in {None, event.position}
        ]
        for event in meant:
            self._parked[name, event.position, event.key] = event._replace(asked=what)
        self._share_out()
        return len(meant)

    async def nudge(self) -> None:
        """Have all who run slots look up, soon."""
        self._share_out()

    async def slots(self, names: Collection[str] | None = None) -> Sequence[SlotState]:
        """Return the slots of the subscriptions *names*, or of all, by name and number."""
        return [
            SlotState(
                name,
                number,
                slot.position,
                slot.fence,
                slot.owner,
                is_owned=slot.owner in self._parts,
                held_at=slot.held_at,
            )
            for (name, number), slot in sorted(self._slots.items(), key=lambda item: item[0])
            if names is None or name in names
        ]

    async def states(self) -> Sequence[SubscriptionState]:
        """Return all subscriptions that are recorded, by name."""
        return [
            SubscriptionState(definition, await self.slots([name]))
            for name, definition in sorted(self._definitions.items())
        ]

    async def pause(self, name: str) -> None:
        """Have the subscription *name* stand still; raises `UnknownSubscription`."""
        for slot in self._slots_of(name):
            slot.held_at = 0
        self._share_out()

    async def resume(self, name: str) -> None:
        """Have the subscription *name* go on where it was; raises `UnknownSubscription`."""
        for slot in self._slots_of(name):
            slot.held_at = None
        self._share_out()

    async def reset(self, name: str, position: int) -> None:
        """Have the subscription *name* begin anew behind *position*, with nothing parked."""
        self._begin_anew(name, position)

    def _begin_anew(self, name: str, position: int | None) -> None:
        """Take the slots of *name* from their owners; behind *position* with nothing parked, or where they are."""
        for slot in self._slots_of(name):
            slot.owner = None
            slot.fence += 1
            if position is not None:
                slot.replayed_to = max(slot.replayed_to, slot.position)
                slot.position = position
        if position is not None:
            self._unpark(name)
        self._share_out()

    async def delete(self, name: str) -> None:
        """Forget the subscription *name* and what it has parked; raises `SubscriptionInUse`."""
        if any(slot.owner in self._parts for slot in self._slots_of(name)):
            raise SubscriptionInUse(name)
        del self._definitions[name]
        self._slots = {key: slot for key, slot in self._slots.items() if key[0] != name}
        self._unpark(name)

    def _slots_of(self, name: str) -> Sequence[_Slot]:
        if name not in self._definitions:
            raise UnknownSubscription(name, self._definitions)
        return [slot for (each, _), slot in self._slots.items() if each == name]

    def _unpark(self, name: str) -> None:
        self._parked = {key: event for key, event in self._parked.items() if key[0] != name}

    async def report(self, reports: Sequence[Report]) -> None:
        """Write down what the owners of slots say of them; what one says who has lost his slot is passed over."""
        for report in reports:
            slot = self._slots.get(report.lease[:2])
            if slot is not None and slot.fence == report.lease.fence:
                slot.report, slot.reported_at = report, self._clock.now()

    async def lag(self, names: Collection[str] | None = None) -> Sequence[SlotLag]:
        """Return how far the slots of the subscriptions *names*, or of all, are behind, by name and number."""
        return [
            self._lag_of(name, number, slot)
            for (name, number), slot in sorted(self._slots.items(), key=lambda item: item[0])
            if names is None or name in names
        ]

    def _lag_of(self, name: str, number: int, slot: _Slot) -> SlotLag:
        report, is_owned = slot.report, slot.owner in self._parts
        missing = self._log[slot.position : slot.position + 1]
        return SlotLag(
            name,
            number,
            slot.position,
            len(self._log),
            len(self._log) - slot.position,
            max((self._clock.now() - missing[0].recorded_at).total_seconds(), 0.0) if missing else 0.0,
            report.rate if report else 0.0,
            OWNER if is_owned else None,
            "paused" if slot.is_held else "unowned" if not is_owned else report.state if report else "running",
            report.error if report else None,
            report.parked_keys if report else 0,
            report.woken_by if report else None,
            slot.reported_at,
        )

    def check(self, lease: Lease) -> None:
        """Raise `LeaseLost` unless *lease* is good."""
        self._held(lease)

    def _held(self, lease: Lease) -> _Slot:
        slot = self._slots.get((lease.name, lease.slot))
        if slot is None or slot.fence != lease.fence:
            raise LeaseLost(lease.name, lease.slot, lease.fence)
        return slot

    def _share_out(self) -> None:
        """Tell every member its part."""
        for part in list(self._parts.values()):
            part.member.shared(self._share_of(part))

    def _share_of(self, part: _Part) -> Share:
        """Take what is due to *part*, and return what it holds then."""
        held: list[Lease] = []
        surplus: list[Lease] = []
        for name in part.names:
            members = {each.id for each in self._parts.values() if name in each.names}
            slots = {number: slot for (each, number), slot in self._slots.items() if each == name}
            owners = {number: slot.owner for number, slot in slots.items() if not slot.is_held}
            take, give = fair_share(part.id, owners, members)
            give += [number for number, slot in slots.items() if slot.is_held and slot.owner == part.id]
            for number in take:
                slots[number].owner = part.id
                slots[number].fence += 1
            held += [Lease(name, number, slot.fence) for number, slot in slots.items() if slot.owner == part.id]
            surplus += [Lease(name, number, slots[number].fence) for number in give]
        return Share(held, surplus, self._life)
