"""Takes a slot's events a batch at a time: what fails is found by smaller steps, and what came before it is kept.

A batch that failed may have failed at any of its events. Where that one is known, those before it are taken first, and
it is then judged by the handler's policy, its attempt in the batch being the first. Where it is not, what failed is
halved until one event is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

import attrs

from framework.errors import LeaseLost, StorageUnavailable
from framework.journal import Item, Journal
from framework.reactions import Halt, Park
from framework.store.subscriptions import DISCARD, ParkedEvent
from framework.subscription.aside import Aside, asked_for
from framework.subscription.delivery import Moved, Subscription
from framework.subscription.failure import Failure, Halted, Policy
from framework.subscription.slots import Hold


@attrs.frozen
class Fault:
    """Why events could not be taken."""

    error: Exception
    item: Item | None = None
    """The one at fault, where that is known."""


class Ground(Protocol):
    """Where the events of a slot take effect, and where its place and what is parked are kept."""

    @property
    def is_one_by_one(self) -> bool:
        """Whether it takes each event by itself, however many it is given: then there are no batches to be made."""
        ...

    @property
    def position(self) -> int:
        """How far the slot has durably come."""
        ...

    async def take(self, items: Sequence[Item], position: int, parked: Sequence[ParkedEvent]) -> Fault | None:
        """Have *items* take effect, set *parked* aside, and move to *position*; or say what was in the way.

        Whichever it is, the slot has moved to behind what is done and need not come again, which may be a part. Raises
        `LeaseLost` and `StorageUnavailable`.
        """
        ...

    async def release(self, position: int, item: Item | None) -> None:
        """Have *item*, which was parked at *position*, take effect, None for nothing, and park it no longer."""
        ...

    async def parked(self) -> Sequence[ParkedEvent]:
        """Return what the subscription has set aside, in the order of the log."""
        ...

    async def trail(self) -> None:
        """Have those who look from afar see how far the slot has come; raises as `take` does."""
        ...


class SteppingSlot:
    """One slot of a handler or a projector."""

    def __init__(
        self,
        ground: Ground,
        subscription: Subscription,
        journal: Journal,
        policy: Policy,
        hold: Hold,
        parked: Iterable[ParkedEvent],
        moved: Moved,
    ) -> None:
        """Begin where *ground* is; *parked* is what the whole subscription has set aside.

        *moved* is told as soon as what was taken is durable: who waits for it goes on meanwhile.
        """
        self._ground = ground
        self._subscription = subscription
        self._journal = journal
        self._policy = policy
        self._hold = hold
        self._moved = moved
        self._at_once = None if ground.is_one_by_one else subscription.batch
        self._aside = Aside(subscription.name, filter(self._is_mine, parked))

    @property
    def position(self) -> int:
        """How far the slot has come."""
        return self._ground.position

    @property
    def parked_keys(self) -> int:
        """How many keys are held back."""
        return self._aside.keys

    async def deliver(self, items: Sequence[Item], *, position: int) -> None:
        """Have *items* take effect and move to *position*; raises `LeaseLost`, or `Halted` with all before it done."""
        rest: Sequence[Item] = items
        at_fault: Fault | None = None
        suspects = 0
        """Of how many at the beginning of *rest* it is known that they fail, and not which."""
        while rest or self.position < position:
            known = None if at_fault is None else at_fault.item
            if at_fault is not None and known is rest[0]:
                await self._judge(rest[0], at_fault.error)
                at_fault, suspects = None, 0
            else:
                if known is None:
                    step = rest[: max(suspects // 2, 1) if suspects else self._at_once]
                else:
                    step = [item for item in rest if item.position < known.position]
                fault = await self._take(step, position if len(step) == len(rest) else step[-1].position)
                if fault is not None:
                    at_fault = fault
                    suspects = len(step)
            left = [item for item in rest if item.position > self.position]
            suspects = max(suspects - len(rest) + len(left), 0)
            rest = left
            if rest:
                self._hold.check_wanted()

    async def attend(self) -> None:
        """Do what somebody has asked for with parked events."""
        if self._aside.is_empty:
            return
        for events in asked_for(await self._ground.parked()):
            if self._is_mine(events[0]):
                await self._release(events)

    def end(self) -> None:
        """Do nothing: it does nothing but deliver."""

    async def _take(self, step: Sequence[Item], position: int) -> Fault | None:
        """Take *step*, with what is held back parked; of a fault the event is known if it was the only one."""
        held_back = [] if self._aside.is_empty else [self._row(item) for item in step if self._holds_back(item)]
        free = [item for item in step if not self._holds_back(item)] if held_back else step
        failed = await self._move(free, position, held_back)
        if failed is None or failed.item is not None:
            return failed
        if not free:
            raise failed.error
        return Fault(failed.error, free[0]) if len(free) == 1 else failed

    async def _judge(self, item: Item, error: Exception) -> None:
        """Try *item*, which has failed with *error*, again as often as it may be, and do what becomes of it then."""
        failure = await self._policy.attempt(item, self._hold, partial(self._alone, [item]), failed=error)
        if failure is None:
            return
        match failure.reaction:
            case Halt():
                raise Halted(item.position) from failure.error
            case Park():
                await self._pass(item.position, self._row(item, failure))
            case _:
                await self._pass(item.position)

    async def _alone(self, items: Sequence[Item]) -> None:
        if failed := await self._move(items, items[-1].position, ()):
            raise failed.error

    async def _pass(self, position: int, *parked: ParkedEvent) -> None:
        """Move to *position* with nothing done but that events are *parked*."""
        if failed := await self._move((), position, parked):
            raise failed.error

    async def _move(self, items: Sequence[Item], position: int, parked: Sequence[ParkedEvent]) -> Fault | None:
        """Have *items* take effect, set *parked* aside, and move to *position*, as `Ground.take`, and tell of it."""
        before = self.position
        failed = await self._ground.take(items, position, parked)
        for row in parked:
            if row.position <= self.position:
                self._aside.remember(row)
        if self.position > before:
            # After what is set aside is remembered: who waits is told that, too.
            self._moved(self.position, not self._aside.is_empty)
            await self._ground.trail()
        return failed

    async def _release(self, events: Sequence[ParkedEvent]) -> None:
        """Go through the parked *events* of one key as far as was asked, and on through those that never failed."""
        for event in events:
            if event.asked is None and event.error is not None:
                return
            try:
                item = None if event.asked == DISCARD else await self._read(event.position)
                await self._ground.release(event.position, item)
            except (LeaseLost, StorageUnavailable, Halted):
                raise
            except Exception as error:
                # It failed again: that is kept, and those behind it wait on.
                again = event._replace(error=f"{type(error).__name__}: {error}", attempts=1)
                if failed := await self._ground.take((), self.position, [again]):
                    raise failed.error from error
                return
            self._aside.forget(event)

    def _holds_back(self, item: Item) -> bool:
        return not self._aside.is_empty and self._aside.holds_back(self._key(item))

    def _row(self, item: Item, failure: Failure | None = None) -> ParkedEvent:
        return self._aside.row(item.position, self._key(item), failure)

    def _key(self, item: Item) -> str:
        try:
            return self._subscription.key_of(item)
        except Exception as error:
            # What it would hold back, nobody can say: the slot may not pass it.
            raise Halted(item.position) from error

    async def _read(self, position: int) -> Item | None:
        """Return what the event at *position* is to the subscription today, which may be nothing."""
        return await self._journal.read_at(position, self._subscription.selection)

    def _is_mine(self, event: ParkedEvent) -> bool:
        return self._subscription.slot_of_key(event.key) == self._hold.lease.slot
