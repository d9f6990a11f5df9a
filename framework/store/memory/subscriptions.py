"""The reference implementation of `Subscriptions`, in this process's memory.

No method awaits between looking and acting, so each is atomic without a lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import attrs

from framework.errors import LeaseLost, SubscriptionChanged
from framework.policies import LEASE
from framework.store.subscriptions import Definition, Lease, ParkedEvent, Share, SlotState, fair_share


@attrs.define
class _Node:
    names: frozenset[str]
    beat_at: float
    """By the loop's clock."""


@attrs.define
class _Slot:
    position: int
    fence: int = 0
    owner: UUID | None = None


class MemorySubscriptions:
    """Definitions, progress and leases that last as long as the store."""

    def __init__(self) -> None:
        self._definitions: dict[str, Definition] = {}
        self._slots: dict[tuple[str, int], _Slot] = {}
        self._nodes: dict[UUID, _Node] = {}
        self._parked: dict[tuple[str, int], ParkedEvent] = {}
        self._changed: set[asyncio.Future[None]] = set()

    async def define(self, definition: Definition, *, start: int) -> None:
        """Make the subscription with all slots at position *start*, unless it is there."""
        known = self._definitions.setdefault(definition.name, definition)
        if known != definition:
            raise SubscriptionChanged(definition.name, known.as_json(), definition.as_json())
        for number in range(definition.partitions):
            self._slots.setdefault((definition.name, number), _Slot(start))

    async def running(self) -> Sequence[Definition]:
        """Return the definitions of those subscriptions that some process can run which lives, by name."""
        names = {name for node, state in self._nodes.items() if self._lives(node) for name in state.names}
        return [self._definitions[name] for name in sorted(names) if name in self._definitions]

    async def share(self, node: UUID, names: Collection[str], *, label: str) -> Share:
        """Say that *node* lives and can run the subscriptions *names*, and return its part of their slots."""
        del label
        self._nodes[node] = _Node(frozenset(names), _now())
        held: list[Lease] = []
        surplus: list[Lease] = []
        for name in names:
            nodes = {each for each, state in self._nodes.items() if name in state.names and self._lives(each)}
            slots = {number: slot for (each, number), slot in self._slots.items() if each == name}
            take, give = fair_share(node, {number: slot.owner for number, slot in slots.items()}, nodes)
            for number in take:
                slots[number].owner = node
                slots[number].fence += 1
            held += [Lease(name, number, slot.fence) for number, slot in slots.items() if slot.owner == node]
            surplus += [Lease(name, number, slots[number].fence) for number in give]
        return Share(held, surplus)

    async def release(self, leases: Collection[Lease]) -> None:
        """Give back slots, for others to take at once."""
        for lease in leases:
            slot = self._slots[lease.name, lease.slot]
            if slot.fence == lease.fence:
                slot.owner = None
        self._wake()

    async def leave(self, node: UUID) -> None:
        """Give back all that *node* holds, and forget that it lives."""
        self._nodes.pop(node, None)
        for slot in self._slots.values():
            if slot.owner == node:
                slot.owner = None
        self._wake()

    async def position(self, lease: Lease) -> int:
        """Return how far the slot has come; raises `LeaseLost`."""
        return self._held(lease).position

    async def advance(self, lease: Lease, position: int) -> None:
        """Say that the slot has come to *position*; raises `LeaseLost`."""
        self._held(lease).position = position

    async def park(self, lease: Lease, events: Sequence[ParkedEvent], position: int) -> None:
        """Set *events* aside and move the slot to *position*; raises `LeaseLost`."""
        self._held(lease).position = position
        for event in events:
            known = self._parked.get((event.name, event.position))
            attempts = event.attempts + (known.attempts if known else 0)
            self._parked[event.name, event.position] = event._replace(attempts=attempts, asked=None)

    async def unpark(self, lease: Lease, position: int) -> None:
        """Forget that the event at *position* was set aside; raises `LeaseLost`."""
        self._held(lease)
        self._parked.pop((lease.name, position), None)

    async def parked(self, names: Collection[str] | None = None) -> Sequence[ParkedEvent]:
        """Return what the subscriptions *names*, or all, have set aside, by name and position."""
        return [event for _, event in sorted(self._parked.items()) if names is None or event.name in names]

    async def ask(self, name: str, what: str, *, key: str | None = None, position: int | None = None) -> int:
        """Ask the owners of *name* to `RETRY` or `DISCARD` what is parked: all, a key, or one event."""
        meant = [
            event
            for event in await self.parked([name])
            if key in {None, event.key} and position in {None, event.position}
        ]
        for event in meant:
            self._parked[name, event.position] = event._replace(asked=what)
        self._wake()
        return len(meant)

    async def slots(self, names: Collection[str] | None = None) -> Sequence[SlotState]:
        """Return the slots of the subscriptions *names*, or of all, by name and number."""
        return [
            SlotState(name, number, slot.position, slot.fence, slot.owner, is_owned=self._lives(slot.owner))
            for (name, number), slot in sorted(self._slots.items(), key=lambda item: item[0])
            if names is None or name in names
        ]

    async def nudge(self) -> None:
        """Have every process look up, and write down how far its slots have come."""
        self._wake()

    async def wait_for_change(self) -> None:
        """Return when slots may have come free."""
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.add(changed)
        try:
            await changed
        finally:
            self._changed.discard(changed)

    def _held(self, lease: Lease) -> _Slot:
        slot = self._slots.get((lease.name, lease.slot))
        if slot is None or slot.fence != lease.fence:
            raise LeaseLost(lease.name, lease.slot, lease.fence)
        return slot

    def _lives(self, node: UUID | None) -> bool:
        state: Any = self._nodes.get(node) if node else None
        return state is not None and _now() - state.beat_at < LEASE.total_seconds()

    def _wake(self) -> None:
        for changed in self._changed:
            if not changed.done():
                changed.set_result(None)


def _now() -> float:
    return asyncio.get_running_loop().time()
