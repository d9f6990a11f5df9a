"""What runs while an application is open: actors, subscriptions, relays, and the dispatcher over them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final
from uuid import UUID

import attrs

from framework.clock import Clock
from framework.contracts import message_types
from framework.handler import EventHandler
from framework.journal import Journal
from framework.messages import Consistency
from framework.middleware import Middleware
from framework.policies import Defaults, Options
from framework.projector import Projector
from framework.read_models import ReadModels
from framework.router import Router
from framework.runtime.actors import Actors
from framework.runtime.consistency import ConsistencyWaits
from framework.runtime.dispatcher import Dispatcher
from framework.runtime.housekeeping import forget_receipts
from framework.runtime.processes import ProcessSink, ProcessType, Relay
from framework.runtime.requests import Preparation
from framework.runtime.supervisor import Supervisor
from framework.selection import Selection
from framework.subscription.delivery import HandlerSink, Sink, Subscription
from framework.subscription.projection import ProjectorSink
from framework.subscription.tail import Feed, Tail

TAIL_ROOM = 5_000
"""Events that one subscription may leave untaken before it reads pages of its own again."""

EVENTUALLY: Final = Options(consistency=Consistency.EVENTUAL)


@attrs.frozen
class Wiring:
    """An application's parts, checked and ready to run."""

    router: Router
    journal: Journal
    clock: Clock
    defaults: Defaults
    handlers: Mapping[str, EventHandler[Any]]
    processes: Sequence[ProcessType]
    projectors: Sequence[Projector[Any]]
    middleware: Sequence[Middleware]


class Engine:
    """The running parts of one application, owned by one supervisor."""

    def __init__(self, wiring: Wiring, models: ReadModels | None) -> None:
        self.models = models
        self.supervisor = Supervisor()
        self.is_stopping = False
        self._wiring = wiring
        self._waits = ConsistencyWaits()
        self._tail = Tail(wiring.journal, page=wiring.defaults.page, room=TAIL_ROOM)
        self._actors = Actors(wiring.journal, wiring.clock, wiring.defaults, self.supervisor)
        self._subscriptions: list[tuple[Subscription, asyncio.Task[None]]] = []
        self._relays: list[asyncio.Task[None]] = []
        self._feeds: set[Feed] = set()
        self.dispatcher = Dispatcher(
            Preparation(wiring.router, wiring.journal, self._waits, wiring.clock, wiring.defaults),
            wiring.journal,
            self._actors,
            self._waits,
            wiring.middleware,
            wiring.defaults.consistency_timeout.total_seconds(),
        )

    async def start(self) -> None:
        """Start everything; a part that cannot be started dies like one that fails later."""
        await self.supervisor.start()
        _ = self.supervisor.spawn(self._actors.sweep(), name="actor sweep")
        _ = self.supervisor.keep("tail", self._tail.run)
        wiring, retry = self._wiring, self._wiring.defaults.handler_retry
        store = wiring.journal.store
        kept = wiring.defaults.receipts_kept
        _ = self.supervisor.keep("receipts", partial(forget_receipts, store, wiring.clock, kept))
        for name, handler in wiring.handlers.items():
            self._subscribe(HandlerSink(name, handler, store, retry), message_types(type(handler), EventHandler, 0))
        for projector in wiring.projectors:
            if self.models is not None:
                model = self.models[type(projector)]
                self._subscribe(ProjectorSink(model, retry), message_types(type(projector), Projector, 0))
        for process in wiring.processes:
            sink = ProcessSink(process, store, store.load_checkpoint, retry)
            self._subscribe(sink, process.events)
            relay = Relay(process, store, sink.filled, self._send, retry)
            self._relays.append(self.supervisor.keep(f"relay {process.name}", relay.run))

    async def stop(self) -> None:
        """Finish what was accepted, within the time that the defaults allow, and end every task."""
        self.is_stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wiring.defaults.shutdown_timeout.total_seconds()
        try:
            for relay in self._relays:
                relay.cancel()  # what it has on its way is sent again, under the same ids, by whoever comes next
            for subscription, _ in self._subscriptions:
                subscription.stop()
            for feed in self._feeds:
                feed.end()
            tasks = [*self._relays, *(task for _, task in self._subscriptions)]
            if tasks:
                await asyncio.wait(tasks, timeout=deadline - loop.time())
            await self._actors.stop(max(deadline - loop.time(), 0))
        finally:
            await self.supervisor.end()

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

    def _subscribe(self, sink: Sink, events: Collection[type]) -> None:
        wiring = self._wiring
        types = frozenset(wiring.journal.types.name_of(event)[0] for event in events)
        progress = self._waits.register(sink.name, types)
        subscription = Subscription(
            sink, Selection(types), wiring.journal, self._tail, wiring.defaults.batch, progress.advance
        )
        self._subscriptions.append((subscription, self.supervisor.keep(sink.name, subscription.run)))

    async def _send(self, command: object, command_id: UUID) -> None:
        # What waits for its commands is the process itself: whatever was registered for the command, it goes on.
        order = self.dispatcher.preparation.order(command, command_id=command_id, options=EVENTUALLY)
        await self.dispatcher.dispatch(order)
