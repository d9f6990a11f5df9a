"""Brings events to the instances of a process: those of a slot, in their order, whatever streams the events are in.

An instance that fails at an event is held up alone. The event is tried again while the slot waits, as with a handler;
after that it is parked under the instance's id, with all later ones that name it, and the slot goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import attrs

from framework.clock import Clock
from framework.errors import ProcessAlreadyStarted, ProcessNotStarted, StepTooSlow
from framework.journal import Item, Journal, pieces
from framework.messages import Recorded
from framework.process_manager import Interest
from framework.reactions import PARK, Halt, Park, Reaction, Retry
from framework.runtime.processes.declared import ProcessType
from framework.runtime.processes.errands import Errands
from framework.runtime.processes.relay import Owner
from framework.runtime.processes.step import Step
from framework.store.protocol import InstanceRow, ProcessChange
from framework.store.subscriptions import DISCARD, ParkedEvent, Terms
from framework.subscription.aside import Aside, asked_for
from framework.subscription.delivery import Moved, Subscription
from framework.subscription.failure import Failure, Halted, Policy
from framework.subscription.slots import Hold


@attrs.frozen
class Fault:
    """Why events could not be taken: where the first at fault is, and what each instance ended in that failed at it."""

    position: int
    errors: Mapping[str, Exception]

    @property
    def error(self) -> Exception:
        """One of them: one that may not come again, if there is one."""
        return min(self.errors.values(), key=lambda error: isinstance(error, ProcessAlreadyStarted | ProcessNotStarted))


class ProcessSink:
    """Delivers to the instances of one process manager."""

    def __init__(
        self,
        process: ProcessType,
        journal: Journal,
        policy: Policy,
        clock: Clock,
        errands: Callable[[ProcessType, Owner], Errands],
    ) -> None:
        """Have what instances yield sent, by what *errands* returns for the owner of a slot."""
        self._process = process
        self._errands = errands
        self._slots: dict[int, ProcessSlot] = {}
        """Those that were taken over last, by their numbers."""
        self._is_quiet = False
        self._journal = journal
        self._policy = policy
        self._clock = clock

    async def take_over(self, hold: Hold, subscription: Subscription, terms: Terms, moved: Moved) -> ProcessSlot:
        """Begin where the owner before has come to."""
        del moved
        parked = await self._journal.store.subscriptions.parked([subscription.name])
        slot = hold.lease.slot
        if (before := self._slots.get(slot)) is not None and (ending := before.errands.end()) is not None:
            # Under this very lease, if the database was away: its last refusal is stored, or never will be.
            await asyncio.wait([ending])
        aside = Aside(subscription.name, [event for event in parked if subscription.slot_of_key(event.key) == slot])
        owner = Owner(hold, subscription.partitions, asyncio.Lock())
        errands = self._errands(self._process, owner)
        taken = self._slots[slot] = ProcessSlot(
            self._process,
            self._journal,
            subscription,
            self._policy,
            self._clock,
            owner,
            errands,
            terms.position,
            aside,
        )
        if self._is_quiet:
            taken.end()
        return taken

    async def at_rest(self) -> None:
        """Return when no slot that was taken over here has anything to send."""
        for slot in list(self._slots.values()):
            await slot.errands.at_rest()

    def quiet(self) -> Collection[asyncio.Task[None]]:
        """Send nothing more, and return what is to be awaited for that."""
        self._is_quiet = True
        ending = [slot.errands.end() for slot in self._slots.values()]
        return [task for task in ending if task is not None]


class ProcessSlot:
    """One slot of a process: the instances that fall into it."""

    def __init__(
        self,
        process: ProcessType,
        journal: Journal,
        subscription: Subscription,
        policy: Policy,
        clock: Clock,
        owner: Owner,
        errands: Errands,
        position: int,
        aside: Aside,
    ) -> None:
        self.position = position
        self.errands = errands
        """What sends for the instances, from the first `attend` on."""
        self._process = process
        self._journal = journal
        self._store = journal.store
        self._subscription = subscription
        self._policy = policy
        self._clock = clock
        self._hold = owner.hold
        self._turn = owner.turn
        self._aside = aside

    @property
    def parked_keys(self) -> int:
        """How many instances are held back, since an event of theirs is parked."""
        return self._aside.keys

    async def deliver(self, items: Sequence[Item], *, position: int) -> None:
        """Have the instances take *items*, and move to *position*; raises `LeaseLost` or `Halted`."""
        rest: Sequence[Item] = items
        fault: Fault | None = None
        while rest or self.position < position:
            before = rest if fault is None else [item for item in rest if item.position < fault.position]
            if fault is None or before:
                # What came before the one at fault is stored first, and need not wait with it.
                fault = await self._take(before, position if fault is None else fault.position - 1) or fault
            else:
                await self._judge([item for item in rest if item.position == fault.position], fault)
                fault = None
            rest = [item for item in rest if item.position > self.position]
            if rest:
                self._hold.check_wanted()

    async def attend(self) -> None:
        """Do what was asked for with instances and parked events, and send what somebody may have left to be sent."""
        self.errands.bell.ring()
        for instance in await self._store.asked_to_stop(self._process.name):
            if self._subscription.slot_of_key(instance) == self._hold.lease.slot:
                await self._stop(instance)
        if self._aside.is_empty:
            return
        for events in asked_for(await self._store.subscriptions.parked([self._process.name])):
            if self._aside.holds_back(events[0].key):
                await self._release(events)

    def end(self) -> None:
        """Send nothing more."""
        self.errands.end()

    async def _stop(self, instance: str) -> None:
        async with self._turn:
            step = await self._begin({instance})
            step.end(instance)
            await self._save(step.change(), self.position)

    async def _take(
        self, items: Sequence[Item], position: int, given_up: Mapping[str, Failure] | None = None
    ) -> Fault | None:
        """Have the instances take *items* but for those *given_up*, and move to *position*; or say what was at fault.

        Then nothing was taken. For instances that are held back, or given up, the events are parked.
        """
        wanted = [each for item in items for each in self._mine(item)]
        parked: dict[tuple[int, str], ParkedEvent] = {}
        async with self._turn:
            step = await self._begin({interest.id for _, interest in wanted if not self._aside.holds_back(interest.id)})
            for at, together in groupby(wanted, key=lambda each: each[0].position):
                errors: dict[str, Exception] = {}
                for event, interest in together:
                    failure = given_up.get(interest.id) if given_up else None
                    if self._aside.holds_back(interest.id) or (failure and isinstance(failure.reaction, Park)):
                        parked[at, interest.id] = self._aside.row(at, interest.id, failure)
                    elif failure is None and interest.id not in errors:
                        try:
                            step.take(event, interest)
                        except Exception as error:  # noqa: BLE001 - whatever it is, the policy judges it
                            errors[interest.id] = error
                if errors:
                    return Fault(at, errors)
            await self._save(step.change(parked.values()), position)
        for row in parked.values():
            self._aside.remember(row)
        return None

    async def _judge(self, items: Sequence[Item], first: Fault) -> None:
        """Try one event, at which instances have failed, again as often as it may be; then it is given up for them."""
        given_up: dict[str, Failure] = {}
        fault: Fault | None = first

        async def again() -> None:
            nonlocal fault
            fault = await self._take(items, first.position, given_up)
            if fault is not None:
                raise fault.error

        while fault is not None:
            failure = await self._policy.attempt(items[0], self._hold, again, failed=fault.error)
            if failure is None:
                return
            if isinstance(failure.reaction, Halt):
                raise Halted(first.position) from failure.error
            given_up |= {id_: attrs.evolve(failure, error=error) for id_, error in fault.errors.items()}
            # Others may fail that have not before: it is their turn then.
            fault = await self._take(items, first.position, given_up)

    async def _release(self, events: Sequence[ParkedEvent]) -> None:
        """Go through the parked *events* of one instance as far as was asked, and on through what never failed."""
        for event in events:
            if event.asked is None and event.error is not None:
                return
            item = None if event.asked == DISCARD else await self._read(event.position)
            async with self._turn:
                step = await self._begin({event.key})
                try:
                    for piece in () if item is None else pieces([item]):
                        for interest in self._process.interests(piece.data):
                            if interest.id == event.key:
                                step.take(piece, interest)
                except Exception as error:  # noqa: BLE001 - it failed again: that is kept, and those behind it wait on
                    again = event._replace(error=f"{type(error).__name__}: {error}", attempts=1)
                    await self._save(ProcessChange(parked=[again]), self.position)
                    return
                await self._save(step.change(released=[event]), self.position)
            self._aside.forget(event)

    async def _read(self, position: int) -> Item | None:
        """Return what the event at *position* is to the process today, which may be nothing."""
        return await self._journal.read_at(position, self._subscription.selection)

    async def _begin(self, ids: Collection[str]) -> Step:
        """Return a step of the instances *ids*; raises `LeaseLost`."""
        self._hold.check()
        rows: Mapping[str, InstanceRow] = {}
        if ids:
            rows = await self._store.load_instances(self._process.name, ids)
        return Step(self._process, rows, self._clock.now())

    async def _save(self, change: ProcessChange, position: int) -> None:
        await self._store.advance_process(self._hold.lease, change, position=position)
        self.position = position
        self.errands.bell.ring_for(change)

    def _mine(self, item: Item) -> Sequence[tuple[Recorded[Any], Interest]]:
        """Return what *item* means to the instances of this slot, with the event of today that means it."""
        process = self._process
        try:
            means = [(event, interest) for event in pieces([item]) for interest in process.interests(event.data)]
        except Exception as error:
            raise Halted(item.position) from error  # it was asked before, and had an answer
        slot_of = self._subscription.slot_of_key
        return [each for each in means if slot_of(each[1].id) == self._hold.lease.slot]


def on_error(event: object, error: Exception, attempt: int) -> Reaction:
    """Say what becomes of an event that an instance failed at: what will not change by waiting is not waited for."""
    del event
    match error:
        case ProcessAlreadyStarted() | ProcessNotStarted():
            return PARK
        case StepTooSlow() if attempt > 1:
            return PARK
        case _:
            return Retry()
