"""`Subscriptions` on PostgreSQL: rows, and the database's clock to tell who lives."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any
from uuid import UUID

from framework.errors import LeaseLost, SubscriptionChanged
from framework.policies import LEASE
from framework.store.postgres import statements
from framework.store.postgres.listener import SLOTS_FREED
from framework.store.subscriptions import Definition, Lease, ParkedEvent, Share, SlotState, fair_share

Fetch = Callable[..., Awaitable[list[Any]]]
"""Runs a statement with its arguments; raises `StorageUnavailable`."""


class PostgresSubscriptions:
    """Definitions, progress and leases, in the store's schema.

    Every method is a statement or two that need no transaction around them: a process that is stopped between two holds
    no lock that others would wait for.
    """

    def __init__(self, fetch: Fetch, slots_freed: Callable[[], Awaitable[None]], channel: str) -> None:
        """Run statements by *fetch*; hear by *slots_freed* what other nodes say over *channel*."""
        self._fetch = fetch
        self._slots_freed = slots_freed
        self._channel = channel

    async def define(self, definition: Definition, *, start: int) -> None:
        """Make the subscription with all slots at position *start*, unless it is there."""
        wanted = definition.as_json()
        ((document,),) = await self._fetch(
            statements.DEFINE_SUBSCRIPTION,
            definition.name,
            json.dumps(wanted).encode(),
            definition.partitions,
            start,
        )
        known = json.loads(document)
        if known != wanted:
            raise SubscriptionChanged(definition.name, known, wanted)

    async def running(self) -> Sequence[Definition]:
        """Return the definitions of those subscriptions that some process can run which lives, by name."""
        rows = await self._fetch(statements.RUNNING, LEASE)
        return [Definition.from_json(row["name"], json.loads(row["definition"])) for row in rows]

    async def share(self, node: UUID, names: Collection[str], *, label: str) -> Share:
        """Say that *node* lives and can run the subscriptions *names*, and return its part of their slots."""
        await self._fetch(statements.BEAT, node, list(names), label)
        rows = await self._fetch(statements.SHARES, list(names), LEASE)
        slots: defaultdict[str, dict[int, Any]] = defaultdict(dict)
        for row in rows:
            slots[row["name"]][row["slot"]] = row
        held: list[Lease] = []
        surplus: list[Lease] = []
        wanted: list[Lease] = []
        for name, by_number in slots.items():
            owners: dict[int, UUID | None] = {number: row["owner"] for number, row in by_number.items()}
            nodes: set[UUID] = {node, *(next(iter(by_number.values()))["nodes"] or ())}
            take, give = fair_share(node, owners, nodes)
            held += [Lease(name, number, by_number[number]["fence"]) for number in owners if owners[number] == node]
            surplus += [Lease(name, number, by_number[number]["fence"]) for number in give]
            wanted += [Lease(name, number, by_number[number]["fence"]) for number in take]
        if wanted:
            # Only those that are as they were when we looked: of two who reach for one, the second comes too late.
            taken = await self._fetch(statements.TAKE_SLOTS, node, *_columns(wanted))
            held += [Lease(*row) for row in taken]
        return Share(held, surplus)

    async def release(self, leases: Collection[Lease]) -> None:
        """Give back slots, for others to take at once."""
        await self._fetch(statements.RELEASE_SLOTS, *_columns(leases))
        await self._fetch(statements.NOTIFY, [self._channel], [SLOTS_FREED])

    async def leave(self, node: UUID) -> None:
        """Give back all that *node* holds, and forget that it lives."""
        await self._fetch(statements.LEAVE, node)
        await self._fetch(statements.NOTIFY, [self._channel], [SLOTS_FREED])

    async def position(self, lease: Lease) -> int:
        """Return how far the slot has come; raises `LeaseLost`."""
        rows = await self._fetch(statements.SLOT_POSITION, *lease)
        if not rows:
            raise LeaseLost(*lease)
        position: int = rows[0]["position"]
        return position

    async def advance(self, lease: Lease, position: int) -> None:
        """Say that the slot has come to *position*; raises `LeaseLost`."""
        if not await self._fetch(statements.ADVANCE_SLOT, *lease, position):
            raise LeaseLost(*lease)

    async def park(self, lease: Lease, events: Sequence[ParkedEvent], position: int) -> None:
        """Set *events* aside and move the slot to *position*; raises `LeaseLost`."""
        columns = (
            [event.position for event in events],
            [event.key for event in events],
            [event.error for event in events],
            [event.attempts for event in events],
        )
        if not await self._fetch(statements.PARK_EVENTS, *lease, position, *columns):
            raise LeaseLost(*lease)

    async def unpark(self, lease: Lease, position: int) -> None:
        """Forget that the event at *position* was set aside; raises `LeaseLost`."""
        if not await self._fetch(statements.UNPARK_EVENT, *lease, position):
            raise LeaseLost(*lease)

    async def parked(self, names: Collection[str] | None = None) -> Sequence[ParkedEvent]:
        """Return what the subscriptions *names*, or all, have set aside, by name and position."""
        rows = await self._fetch(statements.PARKED_EVENTS, None if names is None else list(names))
        return [ParkedEvent(*row) for row in rows]

    async def ask(self, name: str, what: str, *, key: str | None = None, position: int | None = None) -> int:
        """Ask the owners of *name* to `RETRY` or `DISCARD` what is parked: all, a key, or one event."""
        meant = await self._fetch(statements.ASK_PARKED, name, what, key, position)
        await self._fetch(statements.NOTIFY, [self._channel], [SLOTS_FREED])
        return len(meant)

    async def slots(self, names: Collection[str] | None = None) -> Sequence[SlotState]:
        """Return the slots of the subscriptions *names*, or of all, by name and number."""
        rows = await self._fetch(statements.SLOTS, None if names is None else list(names), LEASE)
        return [SlotState(*row) for row in rows]

    async def nudge(self) -> None:
        """Have every process look up, and write down how far its slots have come."""
        await self._fetch(statements.NOTIFY, [self._channel], [SLOTS_FREED])

    async def wait_for_change(self) -> None:
        """Return when slots may have come free."""
        await self._slots_freed()


def _columns(leases: Collection[Lease]) -> tuple[list[str], list[int], list[int]]:
    return [each.name for each in leases], [each.slot for each in leases], [each.fence for each in leases]
