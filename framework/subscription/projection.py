"""Delivers to a projector: rows and progress in one transaction, each event once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from framework.errors import LeaseLost, StorageUnavailable, TransactionEnded
from framework.journal import Item, Journal
from framework.projector import Connection
from framework.reactions import Halt, Park
from framework.read_models import ReadModel
from framework.store.subscriptions import DISCARD, ParkedEvent
from framework.subscription.aside import Aside, asked_for
from framework.subscription.delivery import Subscription
from framework.subscription.failure import Halted, Policy, handling, readable
from framework.subscription.slots import Hold


class ProjectorSink:
    """Delivers to a `Projector`."""

    def __init__(self, model: ReadModel, journal: Journal, policy: Policy) -> None:
        self._model = model
        self._journal = journal
        self._policy = policy

    async def take_over(self, hold: Hold, subscription: Subscription) -> ProjectorSlot:
        """Begin where the rows are those of the log."""
        position = await self._model.take_over(hold.lease)
        parked = [
            event for event in await self._model.parked() if subscription.slot_of_key(event.key) == hold.lease.slot
        ]
        aside = Aside(subscription.name, subscription.key_of, parked)
        return ProjectorSlot(self._model, self._journal, self._policy, hold, position, aside, subscription)


class ProjectorSlot:
    """One slot of a projector: batches; where one fails, event by event, so that the one at fault is found."""

    def __init__(
        self,
        model: ReadModel,
        journal: Journal,
        policy: Policy,
        hold: Hold,
        position: int,
        aside: Aside,
        subscription: Subscription,
    ) -> None:
        self.position = position
        self._model = model
        self._journal = journal
        self._policy = policy
        self._hold = hold
        self._aside = aside
        self._subscription = subscription

    @property
    def sets_aside(self) -> bool:
        """Whether there are parked events."""
        return not self._aside.is_empty

    async def deliver(self, items: Sequence[Item], *, position: int) -> None:
        """Project *items* and move to *position*, in one transaction if all goes well."""
        if not await self._went_together(items, position):
            for item in items:
                await self._one(item)
            if position > self.position:
                await self._project((), position)
        # What others look at from afar: it may trail what the rows' own database says, and never leads.
        await self._journal.store.subscriptions.advance(self._hold.lease, position)

    async def attend(self) -> None:
        """Do what somebody has asked for with parked events."""
        if self._aside.is_empty:
            return
        for events in asked_for(await self._model.parked()):
            if self._subscription.slot_of_key(events[0].key) == self._hold.lease.slot:
                await self._release(events)

    async def _went_together(self, items: Sequence[Item], position: int) -> bool:
        held_back = [self._aside.row(item) for item in items if self._aside.holds_back(item)]
        free = [item for item in items if not self._aside.holds_back(item)]
        try:
            await self._project(free, position, held_back)
        except (LeaseLost, StorageUnavailable, Halted):
            raise
        except Exception:  # noqa: BLE001 - which event is at fault is found out one by one, and judged then
            return False
        return True

    async def _one(self, item: Item) -> None:
        if self._aside.holds_back(item):
            await self._project((), item.position, [self._aside.row(item)])
            return
        failure = await self._policy.attempt(item, self._hold, partial(self._project, (item,), item.position))
        if failure is None:
            return
        match failure.reaction:
            case Halt():
                raise Halted(item.position) from failure.error
            case Park():
                await self._project((), item.position, [self._aside.row(item, failure)])
            case _:
                await self._project((), item.position)

    async def _release(self, events: Sequence[ParkedEvent]) -> None:
        """Go through the parked *events* of one key as far as was asked, and on through those that never failed."""
        for event in events:
            if event.asked is None and event.error is not None:
                return
            try:
                # The effect and the end of its being set aside are one transaction.
                async with self._model.advancing(self._hold.lease, self.position) as db:
                    if event.asked != DISCARD:
                        page = await self._journal.read_log(
                            after=event.position - 1, limit=1, selection=self._subscription.selection
                        )
                        await self._write(page.events[0], db)
                    await self._model.unpark(db, event.position)
            except (LeaseLost, StorageUnavailable):
                raise
            except TransactionEnded as error:
                raise Halted(event.position) from error
            except Exception as error:  # noqa: BLE001 - it failed again: that is kept, and those behind it wait on
                async with self._model.advancing(self._hold.lease, self.position) as db:
                    again = event._replace(error=f"{type(error).__name__}: {error}", attempts=1)
                    await self._model.park(db, again)
                return
            self._aside.forget(event)

    async def _project(self, items: Sequence[Item], position: int, parked: Sequence[ParkedEvent] = ()) -> None:
        """Project *items*, set the *parked* aside, and move to *position*, all or nothing.

        Raises `Halted` where the projector has ended the transaction: tried again, its rows would come twice.
        """
        try:
            async with self._model.advancing(self._hold.lease, position) as db:
                for item in items:
                    await self._write(item, db)
                for event in parked:
                    await self._model.park(db, event)
        except TransactionEnded as error:
            raise Halted(items[0].position) from error
        self.position = position
        for event in parked:
            self._aside.remember(event)

    async def _write(self, item: Item, db: Connection) -> None:
        self._hold.check()
        event = readable(item)
        with handling(self._policy.name, event):
            await self._model.projector.project(event, db)
