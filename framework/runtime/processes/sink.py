"""Brings events to the instances of a process, and stores what follows from them with the place in the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from framework.clock import Clock
from framework.errors import (
    LeaseLost,
    StorageUnavailable,
)
from framework.journal import Item
from framework.messages import Recorded
from framework.process_manager import Continue, Interest, ProcessManager, Stop
from framework.runtime.processes.declared import ProcessType
from framework.runtime.processes.relay import Bell
from framework.runtime.processes.yielded import Source, Yielded
from framework.store.protocol import EventStore, InstanceRow, ProcessChange
from framework.store.subscriptions import Terms
from framework.subscription.delivery import Subscription
from framework.subscription.failure import Halted, Policy, handling, readable
from framework.subscription.slots import Hold


@attrs.define
class Instance:
    """An instance while events are applied to it."""

    version: int
    state: ProcessManager[Any, Any] | None
    """None before the first `Start` and after `Stop`."""
    was_stored: bool


class ProcessSink:
    """Delivers to the instances of one process manager."""

    def __init__(self, process: ProcessType, store: EventStore, policy: Policy, clock: Clock) -> None:
        self.bell = Bell()
        """Rung when there may be something to send."""
        self._clock = clock
        self._process = process
        self._store = store
        self._policy = policy

    async def take_over(self, hold: Hold, subscription: Subscription, terms: Terms) -> ProcessSlot:
        """Begin where the owner before has come to."""
        del subscription
        return ProcessSlot(self, self._policy, hold, terms.position)

    async def apply(self, hold: Hold, items: Sequence[Item], position: int) -> None:
        """Apply *items* to their instances, and store all that follows from them at once."""
        hold.check()
        change = await self._change([readable(item) for item in items])
        await self._store.advance_process(hold.lease, change, position=position)
        self.bell.ring_for(change)

    async def _change(self, events: Sequence[Recorded[Any]]) -> ProcessChange:
        wanted = [(event, interest) for event in events for interest in self._process.interests(event.data)]
        ids = {interest.id for _, interest in wanted}
        rows: Mapping[str, InstanceRow] = await self._store.load_instances(self._process.name, ids) if ids else {}
        instances = {
            id_: Instance(rows[id_].version, self._process.load(rows[id_]), was_stored=True)
            if id_ in rows
            else Instance(0, None, was_stored=False)
            for id_ in ids
        }
        yielded = self._process.yielded()
        for event, interest in wanted:
            with handling(self._process.name, event):
                self._handle(event, interest, instances[interest.id], yielded)
        return ProcessChange(
            saved=[
                InstanceRow(id_, instance.version, self._process.codec.encode(instance.state))
                for id_, instance in instances.items()
                if instance.state is not None
            ],
            removed=[id_ for id_, instance in instances.items() if instance.state is None and instance.was_stored],
            commands=yielded.commands,
            withdrawn=yielded.withdrawn,
            timers=yielded.timers,
        )

    def _handle(self, event: Recorded[Any], interest: Interest, instance: Instance, yielded: Yielded) -> None:
        if isinstance(interest, Stop):
            if instance.state is not None:
                yielded.end(interest.id)
            instance.state = None
            return
        if instance.state is None:
            if isinstance(interest, Continue):
                return
            instance.state, instance.version = self._process.initial, 0
        source = Source(event.event_id, event.correlation_id, self._clock.now())
        yielded.take(interest.id, instance.state.handle(event.data), source)
        instance.state = instance.state.apply(event.data)
        instance.version += 1


class ProcessSlot:
    """One slot of a process: batches; where one fails, event by event, and the slot halts at the one at fault."""

    def __init__(self, sink: ProcessSink, policy: Policy, hold: Hold, position: int) -> None:
        self.position = position
        self._sink = sink
        self._policy = policy
        self._hold = hold

    @property
    def parked_keys(self) -> int:
        """None: events of processes are not parked, their commands are."""
        return 0

    async def deliver(self, items: Sequence[Item], *, position: int) -> None:
        """Apply *items* and move to *position*, at once if all goes well."""
        try:
            await self._sink.apply(self._hold, items, position)
        except (LeaseLost, StorageUnavailable):
            raise
        except Exception:  # noqa: BLE001 - which event is at fault is found out one by one, and judged then
            for item in items:
                work = partial(self._sink.apply, self._hold, (item,), item.position)
                if failure := await self._policy.attempt(item, self._hold, work):
                    raise Halted(item.position) from failure.error
                self.position = item.position
            if position > self.position:
                await self._sink.apply(self._hold, (), position)
        self.position = position

    async def attend(self) -> None:
        """Do nothing: events of processes are not parked, their commands are."""
