"""The reference implementation of `Subscriptions`, in this process's memory.

No method awaits between looking and acting, so each is atomic without a lock. Nobody here can die and leave its slots
behind: who joins, leaves, or gives back is known at once, and all are told.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import count
from uuid import UUID

import attrs

from framework.clock import SYSTEM_CLOCK, Clock
from framework.errors import LeaseLost, SubscriptionInUse, UnknownSubscription
from framework.store.protocol import StoredEvent
from framework.store.subscriptions import (
    Cut,
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
    report: Report | None = None
    reported_at: datetime | None = None


@attrs.define
class _Subscription:
    definition: Definition
    is_paused: bool = False
    is_held: bool = False
    """To be cut anew."""
    level_at: int | None = None
    """Where its slots come to stand then; None until nobody runs them."""
    fence: int | None = None
    """Drawn when all of them stand there."""

    @property
    def until(self) -> int | None:
        """Where its slots are to stand still, or before; None for nowhere."""
        if self.is_paused:
            return 0
        return (self.level_at or 0) if self.is_held else None

    def holds(self, slot: _Slot) -> bool:
        """Say whether *slot* has come to where it is to stand still."""
        return self.until is not None and slot.position >= self.until

    def hold(self) -> None:
        """Have its slots stand still, to be cut anew."""
        self.is_held, self.level_at, self.fence = True, None, None


class MemorySubscriptions:
    """Definitions, progress and leases that last as long as the store."""

    def __init__(self, log: Sequence[StoredEvent] = (), clock: Clock = SYSTEM_CLOCK) -> None:
        """*log* is what they are behind."""
        self._log = log
        self._clock = clock
        self._subscriptions: dict[str, _Subscription] = {}
        self._slots: dict[tuple[str, int], _Slot] = {}
        self._parts: dict[UUID, _Part] = {}
        self._life = Life()  # as long as the log: who holds slots in this process's memory dies with it
        self._parked: dict[tuple[str, int, str], ParkedEvent] = {}
        """By name, position and key."""
        self._first_fences = count(step=1_000_000_000)
        """A life of a subscription that comes later has greater ones."""

    async def define(self, definition: Definition, *, start: int, on_change: OnChange = "refuse") -> None:
        """Make the subscription with all slots at position *start*, unless it is there."""
        subscription = self._subscriptions.get(definition.name)
        if subscription is None:
            self._subscriptions[definition.name] = _Subscription(definition)
            self._make_slots(definition.name, range(definition.partitions), start)
            return
        known = subscription.definition
        if known != definition and definition.succeeds(known, on_change):
            subscription.definition = definition
            if known.partitions != definition.partitions or subscription.is_held:
                subscription.hold()
            if definition.is_run_as(known):
                self._share_out()
            else:
                self._begin_anew(definition.name, start if on_change == "reset" else None)

    async def level(self, name: str, places: Mapping[int, int]) -> Cut | None:
        """Have the slots of *name*, which are held, run up to the furthest of them, if nobody runs them."""
        subscription, slots = self._subscriptions.get(name), self._numbered(name)
        if subscription is None or not subscription.is_held or self._is_run(slots.values()):
            return None
        for number, slot in slots.items():
            slot.position = max(slot.position, places.get(number, 0))
        # Behind what comes again, too: that differs by slot, and no slot could say it of keys from two.
        furthest = max(max(slot.position, slot.replayed_to) for slot in slots.values())
        if subscription.level_at != furthest:
            subscription.level_at, subscription.fence = furthest, None
            self._share_out()
        if any(slot.position != furthest for slot in slots.values()):
            return None
        if subscription.fence is None:
            subscription.fence = next(self._first_fences)
        return Cut(name, subscription.definition.partitions, furthest, subscription.fence)

    async def cut(self, cut: Cut) -> bool:
        """Cut the slots that `level` was answered about, if nothing has changed since; say whether that was done."""
        subscription, slots = self._subscriptions.get(cut.name), self._numbered(cut.name)
        if subscription is None or not subscription.is_held or subscription.fence != cut.fence:
            return False
        if self._is_run(slots.values()) or any(slot.position != cut.position for slot in slots.values()):
            return False
        for number in slots:
            del self._slots[cut.name, number]
        self._make_slots(cut.name, range(cut.partitions), cut.position)
        subscription.is_held, subscription.level_at, subscription.fence = False, None, None
        self._share_out()
        return True

    async def running(self) -> Sequence[Definition]:
        """Return the definitions of those subscriptions that some process can run which lives, by name."""
        names = {name for part in self._parts.values() for name in part.names}
        return [self._subscriptions[name].definition for name in sorted(names) if name in self._subscriptions]

    async def join(self, names: Collection[str], member: Member) -> Membership:
        """Have *member* run its part of the slots of the subscriptions *names*."""
        part = _Part(frozenset(names), member, SYSTEM_CLOCK.new_id(), self)
        self._parts[part.id] = part
        self._share_out()
        return part

    async def release(self, leases: Collection[Lease]) -> None:
        """Give back slots, for others to take at once."""
        for lease in leases:
            slot = self._slots.get(lease[:2])
            if slot is not None and slot.fence == lease.fence:
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
        slot, subscription = self._held(lease), self._subscriptions[lease.name]
        count = len(self._numbered(lease.name))
        return Terms(subscription.definition, slot.position, slot.replayed_to, count, subscription.until)

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
            )
            for (name, number), slot in sorted(self._slots.items(), key=lambda item: item[0])
            if names is None or name in names
        ]

    async def states(self) -> Sequence[SubscriptionState]:
        """Return all subscriptions that are recorded, by name."""
        return [
            SubscriptionState(each.definition, await self.slots([name]), each.is_paused, each.is_held)
            for name, each in sorted(self._subscriptions.items())
        ]

    async def pause(self, name: str) -> None:
        """Have the subscription *name* stand still; raises `UnknownSubscription`."""
        self._known(name).is_paused = True
        self._share_out()

    async def resume(self, name: str) -> None:
        """Have the subscription *name* go on where it was; raises `UnknownSubscription`."""
        self._known(name).is_paused = False
        self._share_out()

    async def reset(self, name: str, position: int) -> None:
        """Have the subscription *name* begin anew behind *position*, with nothing parked."""
        self._known(name)
        self._begin_anew(name, position)

    def _begin_anew(self, name: str, position: int | None) -> None:
        """Take the slots of *name* from their owners; behind *position* with nothing parked, or where they are."""
        for slot in self._numbered(name).values():
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
        self._known(name)
        if self._is_run(self._numbered(name).values()):
            raise SubscriptionInUse(name)
        del self._subscriptions[name]
        self._slots = {key: slot for key, slot in self._slots.items() if key[0] != name}
        self._unpark(name)

    def _known(self, name: str) -> _Subscription:
        if name not in self._subscriptions:
            raise UnknownSubscription(name, self._subscriptions)
        return self._subscriptions[name]

    def _numbered(self, name: str) -> Mapping[int, _Slot]:
        return {number: slot for (each, number), slot in self._slots.items() if each == name}

    def _make_slots(self, name: str, numbers: Iterable[int], position: int) -> None:
        for number in numbers:
            self._slots[name, number] = _Slot(position, next(self._first_fences))

    def _is_run(self, slots: Iterable[_Slot]) -> bool:
        return any(slot.owner in self._parts for slot in slots)

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
        report, is_owned, subscription = slot.report, slot.owner in self._parts, self._subscriptions[name]
        state = report.state if report else "running"
        if subscription.holds(slot):
            state = "paused" if subscription.is_paused else "held"
        elif not is_owned:
            state = "unowned"
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
            state,
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
        to_cut: list[str] = []
        for name in part.names & self._subscriptions.keys():
            members = {each.id for each in self._parts.values() if name in each.names}
            slots, subscription = self._numbered(name), self._subscriptions[name]
            owners = {number: slot.owner for number, slot in slots.items() if not subscription.holds(slot)}
            take, give = fair_share(part.id, owners, members)
            give += [number for number, slot in slots.items() if subscription.holds(slot) and slot.owner == part.id]
            for number in take:
                slots[number].owner = part.id
                slots[number].fence += 1
            held += [Lease(name, number, slot.fence) for number, slot in slots.items() if slot.owner == part.id]
            surplus += [Lease(name, number, slots[number].fence) for number in give]
            if subscription.is_held and not self._is_run(slots.values()):
                to_cut.append(name)
        return Share(held, surplus, self._life, to_cut)
