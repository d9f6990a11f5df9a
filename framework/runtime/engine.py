"""What runs while an application is open: actors, subscriptions, relays, and the dispatcher over them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from framework.audit import AuditLog
from framework.contracts import message_types
from framework.errors import StorageUnavailable
from framework.handler import EventHandler, StartFrom
from framework.messages import Consistency, DispatchResult, Metadata, Recorded
from framework.policies import SCHEDULES_SECONDS, Options
from framework.projector import Projector
from framework.read_models import ReadModels
from framework.runtime.actors import Actors
from framework.runtime.consistency import ConsistencyWaits
from framework.runtime.control import Control
from framework.runtime.deciding import Deciding
from framework.runtime.dispatcher import Dispatcher
from framework.runtime.health import Health
from framework.runtime.housekeeping import Forget, forget_after
from framework.runtime.instances import Instances
from framework.runtime.processes import Bell, Errands, Owner, ProcessSink, ProcessType, Relay, Relayed, Send, on_error
from framework.runtime.progress import Progress
from framework.runtime.repeats import Repeats
from framework.runtime.reports import Reports
from framework.runtime.requests import Preparation
from framework.runtime.rounds import Means
from framework.runtime.schedules import Schedules
from framework.runtime.snapshots import Snapshots
from framework.runtime.states import States
from framework.runtime.supervisor import Supervisor
from framework.runtime.wiring import Wiring
from framework.selection import Selection
from framework.store.batches import GroupCommit
from framework.store.subscriptions import Kind
from framework.subscription.cutting import cut_anew
from framework.subscription.delivery import Sink, SlotRunner, Subscription
from framework.subscription.effects import HandlerSink
from framework.subscription.failure import OnError, Policy
from framework.subscription.projection import ProjectorSink
from framework.subscription.slots import Hold, Leases
from framework.subscription.start import start_position
from framework.subscription.tail import Feed, Tail

TAIL_ROOM = 5_000
"""Events that one subscription may leave untaken before it reads pages of its own again."""

EVENTUALLY: Final = Options(consistency=Consistency.EVENTUAL)


class Engine:
    """The running parts of one application, owned by one supervisor."""

    def __init__(self, wiring: Wiring, models: ReadModels | None) -> None:
        self.models = models
        self.supervisor = Supervisor()
        self.is_stopping = False
        self._wiring = wiring
        self._tail = Tail(
            wiring.journal, page=wiring.defaults.page, room=TAIL_ROOM, begin=partial(self.supervisor.keep, "tail")
        )
        snapshots = Snapshots(wiring.journal, wiring.clock, partial(self.supervisor.spawn, "snapshots"))
        self.states = States(wiring.journal, wiring.defaults.page, snapshots)
        means = Means(
            wiring.journal,
            Deciding(wiring.journal, wiring.clock, wiring.watch),
            Repeats(wiring.journal, self.states),
            wiring.watch,
            wiring.defaults.lifespan,
        )
        self._actors = Actors(self.states, means, wiring.defaults, self.supervisor)
        self._processes = [
            (
                process,
                ProcessSink(process, wiring.journal, self._policy(process.name, on_error), wiring.clock, self._errands),
            )
            for process in wiring.processes
        ]
        self._subscriptions = self._subscribe()
        self.control = Control(
            wiring.journal.store,
            {name: subscription.name for name, subscription in self._subscriptions.items()},
            {model.name: model for model in models or ()},
        )
        self.instances = Instances(wiring.journal.store, wiring.journal, wiring.processes)
        self.waits = ConsistencyWaits(wiring.journal, self.control.parked)
        self._progress: dict[str, Progress] = {}
        """By the names of subscriptions."""
        self._leases = Leases(
            wiring.journal.store.subscriptions,
            [each.name for each in self._subscriptions.values()],
            self._run_slot,
            self.supervisor,
            wiring.journal.store.growth,
            self._cut,
        )
        self._reports = Reports(wiring.journal.store, self.supervisor, wiring.watch)
        self._relays: list[Relay] = []
        self._relaying: list[asyncio.Task[None]] = []
        self.schedules = Schedules(
            wiring.journal.store, wiring.journal.codec, wiring.router, wiring.clock, self._send, self._relay
        )
        self._feeds: set[Feed] = set()
        self._started = AsyncExitStack()
        """Stops the handlers that were started."""
        self.dispatcher = Dispatcher(
            Preparation(wiring.router, wiring.journal, wiring.clock, wiring.defaults),
            means,
            self._actors,
            self.waits,
            wiring.middleware,
            wiring.defaults.consistency_timeout.total_seconds(),
            wiring.watch,
        )

    async def start(self) -> None:
        """Start everything; raises `SubscriptionChanged` where a handler is not what it was.

        A part that cannot be started dies like one that fails later.
        """
        wiring = self._wiring
        store = wiring.journal.store
        for handler in wiring.handlers.values():
            await handler.on_start(self.dispatch)
            self._started.push_async_callback(handler.on_stop)
        if wiring.watch.wants_batches and isinstance(store, GroupCommit):
            store.tell_batches(partial(wiring.watch.committed, store.namespace))
        self._forget("receipts", wiring.defaults.receipts_kept, store.prune_receipts)
        audits = [layer for layer in wiring.middleware if isinstance(layer, AuditLog)]
        for number, audit in enumerate(audits):
            self._forget(f"audit {number}", audit.keep_for, audit.forget)
        for name, subscription in self._subscriptions.items():
            self._progress[subscription.name] = self.waits.register(name, subscription)
            start = await start_position(subscription.name, subscription.start_from, store)
            await store.subscriptions.define(subscription.definition, start=start, on_change=subscription.on_change)
        if self._subscriptions:
            self._reports.begin()
            await self._leases.join()
        self.supervisor.every(SCHEDULES_SECONDS, "schedules", self.schedules.look)

    async def stop(self) -> None:
        """Finish what was accepted, within the time that the defaults allow, and end every task."""
        self.is_stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wiring.defaults.shutdown_timeout.total_seconds()
        try:
            ending = [task for _, sink in self._processes for task in sink.quiet()]
            for relay in self._relaying:
                relay.cancel()  # what it has on its way is sent again, under the same ids, by whoever comes next
            for feed in self._feeds:
                feed.end()
            if ending or self._relaying:
                await asyncio.wait([*ending, *self._relaying], timeout=deadline - loop.time())
            # Callers before handlers, if the time is short: those lose an answer, these begin again where they were.
            await self._actors.stop(max(deadline - loop.time(), 0))
            await self._leases.leave(max(deadline - loop.time(), 0))
        finally:
            self._reports.close()
            try:
                await self.supervisor.end()
            finally:
                await self._started.aclose()

    async def dispatch(
        self,
        command: object,
        *,
        command_id: UUID | None = None,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        metadata: Metadata | None = None,
    ) -> DispatchResult:
        """Dispatch *command* on behalf of a handler; see `Application.dispatch`."""
        order = self.dispatcher.preparation.order(
            command,
            command_id=command_id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            metadata=metadata,
        )
        return await self.dispatcher.dispatch(order)

    async def health(self, within_s: float) -> Health:
        """Return how everything is; a store that has not answered within *within_s* seconds does not."""
        store = error = None
        try:
            async with asyncio.timeout(within_s):
                store = await self._wiring.journal.store.health()
        except TimeoutError:
            error = f"nothing was heard within {within_s:g} s"
        except StorageUnavailable as unavailable:
            error = str(unavailable)
        failures = tuple(self.supervisor.failures)
        return Health(
            state="stopping" if self.is_stopping else "failed" if failures else "open",
            failures=failures,
            store=store,
            store_error=error,
            slots=self._leases.held,
            halted=self._leases.halted,
            live_actors=len(self._actors),
            mailboxes=self._actors.mailboxes,
        )

    async def settled(self) -> None:
        """Return when every slot has passed the head of the log and no process has anything to send.

        All slots must be run here: of one that is run elsewhere nothing is heard.
        """
        await self.schedules.look()
        passed = -1
        # What was sent may have been recorded, and have led to more.
        while passed < (head := await self._wiring.journal.store.head()):
            for progress in self._progress.values():
                await progress.reach(head)
            for _, sink in self._processes:
                await sink.at_rest()
            for relay in self._relays:
                await relay.at_rest()
            passed = head

    def behind(self, head: int) -> Mapping[str, int]:
        """Return the slots that have not passed *head*, each with the position it has come to."""
        return {
            f"{name} slot {slot}": place.position
            for name, progress in self._progress.items()
            for slot, place in progress.all_places()
            if place.position < head
        }

    @contextmanager
    def feed(self, selection: Selection, *, after: int) -> Generator[Feed, None, None]:
        """Give a way along the log that nothing is stored of; it ends with the block, or when the engine stops."""
        wiring = self._wiring
        feed = Feed(wiring.journal, self._tail, selection, after=after, page=wiring.defaults.page)
        self._feeds.add(feed)
        try:
            yield feed
        finally:
            self._feeds.discard(feed)
            feed.end()

    def _subscribe(self) -> dict[str, Subscription]:
        """Return what reads the log, by the name of its handler."""
        wiring = self._wiring
        found: dict[str, Subscription] = {}

        def add(
            name: str,
            reader: EventHandler[Any] | Projector[Any] | ProcessType,
            sink: Sink,
            events: Collection[type],
            known_as: str = "",
        ) -> None:
            types = frozenset(wiring.journal.types.name_of(event)[0] for event in events)
            selection = Selection(types)
            start_from: StartFrom = "origin"
            batch = None if isinstance(reader, ProcessType) else reader.batch_size
            within = timedelta(0)
            if isinstance(reader, EventHandler):
                selection, start_from = Selection(types, reader.prefix, reader.stream), reader.start_from
                within = reader.batch_within
            found[name] = Subscription(
                known_as or name,
                selection,
                reader.partitions,
                _key(reader),
                sink,
                start_from,
                batch or wiring.defaults.batch,
                within.total_seconds(),
                _kind(reader),
                reader.revision,
                # The others have but one way to change: their rows and instances hold what has happened.
                reader.on_change if isinstance(reader, EventHandler) else "keep",
                reader.instances_of if isinstance(reader, ProcessType) else None,
            )

        for name, handler in wiring.handlers.items():
            events = message_types(type(handler), EventHandler, 0)
            watching = partial(wiring.watch.handling, name) if wiring.watch.watches_events else None
            sink = HandlerSink(handler, wiring.journal, self._policy(name, handler.on_error), watching)
            add(name, handler, sink, events)
        for projector in wiring.projectors:
            if self.models is not None:
                model = self.models[type(projector)]
                events = message_types(type(projector), Projector, 0)
                policy = self._policy(model.name, projector.on_error)
                watching = partial(wiring.watch.projecting, model.subscription) if wiring.watch.watches_events else None
                rows = ProjectorSink(model, wiring.journal, policy, watching)
                add(model.name, projector, rows, events, model.subscription)
        for process, process_sink in self._processes:
            add(process.name, process, process_sink, process.events)
        return found

    def _policy(self, name: str, on_error: OnError) -> Policy:
        defaults = self._wiring.defaults
        return Policy(name, on_error, defaults.handler_retry, defaults.after_retries)

    def _run_slot(self, hold: Hold) -> SlotRunner:
        wiring, name = self._wiring, hold.lease.name
        subscription = next(each for each in self._subscriptions.values() if each.name == name)
        heard = self._progress[name].heard
        runner = SlotRunner(
            subscription, hold, wiring.journal, self._tail, heard, self._reports.changed, wiring.watch.delivering
        )
        self._reports.add(runner)
        return runner

    async def _cut(self, name: str) -> bool:
        models = {model.subscription: model for model in self.models or ()}
        return await cut_anew(name, self._wiring.journal.store.subscriptions, models.get(name))

    def _forget(self, name: str, kept: timedelta, forget: Forget) -> None:
        """Have *forget* called for what is older than it is *kept*."""
        forget_after(kept, name, forget, self._wiring.clock, self.supervisor)

    def _relay(self, process: Relayed, bell: Bell, send: Send) -> None:
        wiring = self._wiring
        relay = Relay(process, wiring.journal.store, bell, send, wiring.defaults.handler_retry, wiring.clock)
        self._relays.append(relay)
        self._relaying.append(self.supervisor.keep(f"relay {process.name}", relay.run))

    def _errands(self, process: ProcessType, owner: Owner) -> Errands:
        """Return what sends the commands of *process* for the *owner* of one of its slots."""
        wiring = self._wiring
        send = partial(self._send, options=process.options.over(EVENTUALLY))

        def relay(bell: Bell) -> Relay:
            return Relay(process, wiring.journal.store, bell, send, wiring.defaults.handler_retry, wiring.clock, owner)

        name = f"relay {process.name} slot {owner.hold.lease.slot}"
        return Errands(name, relay, self.supervisor.keep, wiring.clock)

    async def _send(self, command: object, command_id: UUID, *, options: Options = EVENTUALLY) -> None:
        # Whatever was registered for the command, nobody waits for its handlers who has not said so himself.
        order = self.dispatcher.preparation.order(command, command_id=command_id, options=options)
        await self.dispatcher.dispatch(order)


def _kind(reader: EventHandler[Any] | Projector[Any] | ProcessType) -> Kind:
    match reader:
        case EventHandler():
            return "handler"
        case Projector():
            return "projector"
        case ProcessType():
            return "process"


def _key(reader: EventHandler[Any] | Projector[Any] | ProcessType) -> Callable[[Recorded[Any]], str] | None:
    """Return what picks the slot of an event, None where that is its stream."""
    if isinstance(reader, ProcessType):
        return None
    stream = EventHandler[Any].partition_by, Projector[Any].partition_by
    return None if type(reader).partition_by in stream else reader.partition_by
