"""Delivers to a projector: rows and progress in one transaction, each event once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from framework.errors import LeaseLost, StorageUnavailable, TransactionEnded
from framework.journal import Item, Journal, pieces
from framework.messages import Recorded
from framework.observe import COMMITTED_FAILED, log
from framework.projector import Connection
from framework.read_models import ReadModel
from framework.selection import Selection
from framework.store.subscriptions import ParkedEvent, Terms
from framework.subscription.delivery import Moved, Subscription
from framework.subscription.failure import Halted, Policy, Watching, handling
from framework.subscription.slots import Hold
from framework.subscription.steps import Fault, SteppingSlot


class ProjectorSink:
    """Delivers to a `Projector`."""

    def __init__(self, model: ReadModel, journal: Journal, policy: Policy, watching: Watching | None = None) -> None:
        self._model = model
        self._journal = journal
        self._policy = policy
        self._watching = watching

    async def take_over(self, hold: Hold, subscription: Subscription, terms: Terms, moved: Moved) -> SteppingSlot:
        """Begin where the rows are those of the log."""
        # How far the rows have come, their own database knows.
        position = await self._model.take_over(hold.lease, terms.partitions)
        ground = Rows(self._model, self._journal, subscription.selection, self._policy, hold, position, self._watching)
        await ground.tell_what_is_owed()
        if terms.position < position:
            await ground.trail()  # whoever committed the rows did not come to it
        parked = await self._model.parked()
        return SteppingSlot(ground, subscription, self._journal, self._policy, hold, parked, moved)


class Rows:
    """The rows of one slot of a projector, and how far it has come with them."""

    is_one_by_one = False

    def __init__(
        self,
        model: ReadModel,
        journal: Journal,
        selection: Selection,
        policy: Policy,
        hold: Hold,
        position: int,
        watching: Watching | None,
    ) -> None:
        self.position = position
        self._model = model
        self._journal = journal
        self._selection = selection
        self._policy = policy
        self._hold = hold
        self._watching = watching

    async def take(self, items: Sequence[Item], position: int, parked: Sequence[ParkedEvent]) -> Fault | None:
        """Project *items*, set *parked* aside, and move to *position*, all in one transaction; see `Ground`."""
        alone: Item | None = None
        try:
            async with self._model.advancing(self._hold.lease, position) as db:
                for some in self._at_once(items):
                    alone = some[0] if len(some) == 1 else None
                    await self._write(some, db)
                alone = None
                for event in parked:
                    await self._model.park(db, event)
                await self._owe(items, db)
        except (LeaseLost, StorageUnavailable):
            raise
        except TransactionEnded as error:
            raise Halted(items[0].position) from error  # tried again, its rows would come twice
        except Exception as error:  # noqa: BLE001 - whatever it is, the projector's policy judges it
            return Fault(error, alone)
        before, self.position = self.position, position
        if before < self._model.replayed_to <= position:
            await self._model.show()
        await self._tell(items)
        return None

    async def release(self, position: int, item: Item | None) -> None:
        """Project *item*, which was parked at *position*, None for nothing, and park it no longer, all or nothing."""
        try:
            async with self._model.advancing(self._hold.lease, self.position) as db:
                if item is not None:
                    await self._write([item], db)
                    await self._owe([item], db)
                await self._model.unpark(db, position)
        except TransactionEnded as error:
            raise Halted(position) from error
        if item is not None:
            await self._tell([item])

    async def parked(self) -> Sequence[ParkedEvent]:
        """Return what the projector has set aside."""
        return await self._model.parked()

    async def trail(self) -> None:
        """Have those who look from afar see how far the rows are: they may see less than is there, and never more."""
        await self._journal.store.subscriptions.advance(self._hold.lease, self.position)

    async def tell_what_is_owed(self) -> None:
        """Tell the projector of the events whose rows were committed by somebody who did not come to tell it."""
        if self._model.tells:
            positions = await self._model.owed(self._hold.lease.slot)
            owed = [await self._journal.read_at(position, self._selection) for position in positions]
            await self._tell([item for item in owed if item is not None])

    def _new(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return those of *items* that the projector is told of."""
        return [item for item in items if item.position > self._model.replayed_to] if self._model.tells else ()

    async def _owe(self, items: Sequence[Item], db: Connection) -> None:
        if new := self._new(items):
            await self._model.owe(db, self._hold.lease.slot, [item.position for item in new])

    async def _tell(self, items: Sequence[Item]) -> None:
        """Tell the projector that the rows of *items* are committed, and note that it was told."""
        events = list(pieces(self._new(items)))
        failures = 0
        while events:
            self._hold.check()
            try:
                with handling(self._policy.name, events):
                    await self._model.projector.committed(events)
            except (LeaseLost, StorageUnavailable):
                raise
            except Exception as error:  # noqa: BLE001 - the rows are there; whom it would have told is not the log's affair
                failures += 1
                if failures < self._policy.retry.attempts:
                    await self._hold.pause(self._policy.retry.delay_s(failures))
                    continue
                log.error(COMMITTED_FAILED, handler=self._policy.name, position=self.position, error=repr(error))
            await self._model.settle(self._hold.lease)
            return

    def _at_once(self, items: Sequence[Item]) -> Iterable[Sequence[Item]]:
        """Return *items* as they are projected: all at once, or each by itself."""
        if self._model.projector.is_batched:
            return [items] if items else []
        return ([item] for item in items)

    async def _write(self, items: Sequence[Item], db: Connection) -> None:
        self._hold.check()
        events = [self._marked(event) for event in pieces(items)]
        projector = self._model.projector
        with handling(self._policy.name, events, self._watching):
            if projector.is_batched:
                await projector.project_batch(events, db)
            else:
                for event in events:
                    await projector.project(event, db)

    def _marked(self, event: Recorded[Any]) -> Recorded[Any]:
        return event._replace(replaying=True) if event.position <= self._model.replayed_to else event
