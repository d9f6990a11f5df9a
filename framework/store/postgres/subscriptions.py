"""`Subscriptions` on PostgreSQL: rows, and the database's clock to tell who lives."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from framework.errors import LeaseLost, SubscriptionInUse, UnknownSubscription
from framework.policies import LEASE
from framework.store.postgres import statements
from framework.store.postgres.listener import SLOTS_FREED, channel
from framework.store.postgres.presence import Presence
from framework.store.subscriptions import (
    Cut,
    Definition,
    Lease,
    Member,
    Membership,
    OnChange,
    ParkedEvent,
    Report,
    SlotLag,
    SlotState,
    SubscriptionState,
    Terms,
)

Fetch = Callable[..., Awaitable[list[Any]]]
"""Runs a statement with its arguments; raises `StorageUnavailable`."""


class PostgresSubscriptions:
    """Definitions, progress and leases, in the store's schema.

    Every method is a statement or two that need no transaction around them: a process that is stopped between two holds
    no lock that others would wait for.
    """

    def __init__(self, fetch: Fetch, presence: Callable[[], Presence], schema: str) -> None:
        """Run statements by *fetch*; share the slots in *schema* as *presence* tells."""
        self._fetch = fetch
        self._presence = presence
        self._schema = schema

    async def define(self, definition: Definition, *, start: int, on_change: OnChange = "refuse") -> None:
        """Make the subscription with all slots at position *start*, unless it is there."""
        document = json.dumps(definition.as_json()).encode()
        while True:
            ((recorded,),) = await self._fetch(
                statements.DEFINE_SUBSCRIPTION, definition.name, document, definition.partitions, start
            )
            # What an earlier release had no word for is as it was then, and that is the default.
            known = Definition.from_json(definition.name, json.loads(recorded))
            if known == definition or not definition.succeeds(known, on_change):
                return
            is_another = not definition.is_run_as(known)
            anew = start if is_another and on_change == "reset" else None
            change = definition.name, recorded, document, definition.partitions != known.partitions, is_another, anew
            # No rows: somebody else was there first, with this definition or one that may be later still.
            if await self._fetch(statements.REDEFINE_SUBSCRIPTION, *change):
                await self._tell()
                return

    async def level(self, name: str, places: Mapping[int, int]) -> Cut | None:
        """Have the slots of *name*, which are held, run up to the furthest of them, if nobody runs them."""
        cut = None
        for is_level, is_new, *found in await self._fetch(
            statements.LEVEL_SLOTS, name, list(places), list(places.values())
        ):
            if is_level:
                cut = Cut(name, *found)
            elif is_new:
                await self._tell()
        return cut

    async def cut(self, cut: Cut) -> bool:
        """Cut the slots that `level` was answered about, if nothing has changed since; say whether that was done."""
        is_done = bool(await self._fetch(statements.CUT_SLOTS, *cut))
        await self._tell()
        return is_done

    async def running(self) -> Sequence[Definition]:
        """Return the definitions of those subscriptions that some process can run which lives, by name."""
        rows = await self._fetch(statements.RUNNING, LEASE)
        return [Definition.from_json(row["name"], json.loads(row["definition"])) for row in rows]

    async def join(self, names: Collection[str], member: Member) -> Membership:
        """Have *member* run its part of the slots of the subscriptions *names*."""
        return await self._presence().join(self._schema, names, member)

    async def release(self, leases: Collection[Lease]) -> None:
        """Give back slots, for others to take at once."""
        await self._fetch(statements.RELEASE_SLOTS, *_columns(leases))
        await self._tell()

    async def terms(self, lease: Lease) -> Terms:
        """Return by what the slot is run; raises `LeaseLost`."""
        for row in await self._fetch(statements.TERMS, *lease):
            definition = Definition.from_json(lease.name, json.loads(row["definition"]))
            return Terms(definition, row["position"], row["replayed_to"], row["partitions"], row["until"])
        raise LeaseLost(*lease)

    async def advance(self, lease: Lease, position: int) -> None:
        """Say that the slot has come to *position*; raises `LeaseLost`."""
        if not await self._fetch(statements.ADVANCE_SLOT, *lease, position):
            raise LeaseLost(*lease)

    async def park(self, lease: Lease, events: Sequence[ParkedEvent], position: int) -> None:
        """Set *events* aside and move the slot to *position*; raises `LeaseLost`."""
        if not await self._fetch(statements.PARK_EVENTS, *lease, position, *parked_columns(events)):
            raise LeaseLost(*lease)

    async def unpark(self, lease: Lease, position: int) -> None:
        """Forget that the event at *position* was set aside; raises `LeaseLost`."""
        if not await self._fetch(statements.UNPARK_EVENT, *lease, position):
            raise LeaseLost(*lease)

    async def parked(self, names: Collection[str] | None = None) -> Sequence[ParkedEvent]:
        """Return what the subscriptions *names*, or all, have set aside, by name, position and key."""
        rows = await self._fetch(statements.PARKED_EVENTS, None if names is None else list(names))
        return [ParkedEvent(*row) for row in rows]

    async def ask(self, name: str, what: str, *, key: str | None = None, position: int | None = None) -> int:
        """Ask the owners of *name* to `RETRY` or `DISCARD` what is parked: all, a key, or one event."""
        meant = await self._fetch(statements.ASK_PARKED, name, what, key, position)
        await self._tell()
        return len(meant)

    async def nudge(self) -> None:
        """Have all who run slots look up, soon."""
        await self._fetch(statements.CHANGED, [self._schema])
        await self._tell()

    async def slots(self, names: Collection[str] | None = None) -> Sequence[SlotState]:
        """Return the slots of the subscriptions *names*, or of all, by name and number."""
        rows = await self._fetch(statements.SLOTS, None if names is None else list(names), LEASE)
        return [SlotState(*row) for row in rows]

    async def states(self) -> Sequence[SubscriptionState]:
        """Return all subscriptions that are recorded, by name."""
        slots: defaultdict[str, list[SlotState]] = defaultdict(list)
        for slot in await self.slots():
            slots[slot.name].append(slot)
        return [
            SubscriptionState(
                Definition.from_json(row["name"], json.loads(row["definition"])),
                slots[row["name"]],
                row["is_paused"],
                row["is_held"],
            )
            for row in await self._fetch(statements.SUBSCRIPTIONS)
        ]

    async def pause(self, name: str) -> None:
        """Have the subscription *name* stand still; raises `UnknownSubscription`."""
        await self._change(statements.PAUSE_SUBSCRIPTION, name, True)

    async def resume(self, name: str) -> None:
        """Have the subscription *name* go on where it was; raises `UnknownSubscription`."""
        await self._change(statements.PAUSE_SUBSCRIPTION, name, False)

    async def reset(self, name: str, position: int) -> None:
        """Have the subscription *name* begin anew behind *position*, with nothing parked."""
        await self._change(statements.RESET_SLOTS, name, position)

    async def delete(self, name: str) -> None:
        """Forget the subscription *name* and what it has parked; raises `SubscriptionInUse`."""
        if any(slot.is_owned for slot in await self.slots([name])):
            raise SubscriptionInUse(name)
        await self._change(statements.DELETE_SUBSCRIPTION, name)

    async def _change(self, statement: str, name: str, *arguments: object) -> None:
        """Run a statement that returns what it found of *name*, and have the owners look."""
        if not await self._fetch(statement, name, *arguments):
            raise UnknownSubscription(name, [row["name"] for row in await self._fetch(statements.SUBSCRIPTIONS)])
        await self._tell()

    async def report(self, reports: Sequence[Report]) -> None:
        """Write down what the owners of slots say of them."""
        leases = [report.lease for report in reports]
        columns = zip(*[report[1:] for report in reports], strict=True)
        if reports:
            await self._fetch(statements.REPORT, *_columns(leases), *map(list, columns))

    async def lag(self, names: Collection[str] | None = None) -> Sequence[SlotLag]:
        """Return how far the slots of the subscriptions *names*, or of all, are behind, by name and number."""
        rows = await self._fetch(statements.LAG, None if names is None else list(names))
        return [SlotLag(*row) for row in rows]

    async def _tell(self) -> None:
        await self._fetch(statements.NOTIFY, [channel(self._schema)], [SLOTS_FREED])


def _columns(leases: Collection[Lease]) -> tuple[list[str], list[int], list[int]]:
    return [each.name for each in leases], [each.slot for each in leases], [each.fence for each in leases]


def parked_columns(events: Sequence[ParkedEvent]) -> tuple[list[Any], ...]:
    """Return *events* as the arrays that are set aside."""
    return (
        [event.position for event in events],
        [event.key for event in events],
        [event.error for event in events],
        [event.attempts for event in events],
    )
