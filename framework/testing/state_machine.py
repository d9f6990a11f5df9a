"""A state machine of hypothesis for any aggregate: whichever way its state is come by, it is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import DataObject, SearchStrategy, data, integers

from framework.aggregate import Aggregate
from framework.codec import Codec
from framework.errors import CommandRejected
from framework.router import Router
from framework.store.memory import MemoryEventStore
from framework.testing.application import WatchedApplication
from framework.testing.clock import ManualClock

T = TypeVar("T")


class AggregateMachine(RuleBasedStateMachine):
    """Has an aggregate decide any commands in any order, and compares the state it is in with what the log says.

    Subclass it, say what is in its class variables, and give `Subclass.TestCase` a name that pytest finds. After each
    command the live state, held by the application, is compared with a replay of all events as they were stored, and
    with a snapshot at some version followed by the events after it. In between the application is closed and opened
    again. A refusal is no fault; whatever else a command raises is. It runs on a store in memory, in a loop of its own.
    """

    router: ClassVar[Router]
    """Where the aggregate is registered."""
    aggregate: ClassVar[type[Aggregate[Any, Any]]]
    commands: ClassVar[SearchStrategy[Any]]
    """What it is sent: `commands_of` makes one. Let the identities be few, or hardly two commands meet."""
    codec: ClassVar[Codec | None] = None
    """The one that holds types of your own."""
    with_snapshots: ClassVar[bool] = True
    """Whether the state can be written down; without that, there is no snapshot to compare it with."""

    def __init__(self) -> None:
        super().__init__()
        # With a factory it leaves alone what others hold for the current loop.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._codec = self.codec or Codec()
        self._store = MemoryEventStore(ManualClock())
        self._versions: dict[str, int] = {}
        self._open()

    @rule(data=data())
    def a_command(self, data: DataObject) -> None:
        """Have one command decided, and compare."""
        command = data.draw(self.commands, label="command")
        try:
            result = self._run(self._application.dispatch(command, returning=self.aggregate))
        except CommandRejected:
            return
        stream, live = result.stream, result.state
        self._versions[stream] = result.version
        events = [recorded.data for recorded in self._run(self._application.recorded(stream=stream))]
        replayed = self.aggregate().fold(events)
        assert replayed == live, f"{stream}: its events add up to {replayed!r}, but it is live as {live!r}"
        if self.with_snapshots:
            version = data.draw(integers(0, len(events)), label="version of a snapshot")
            written = self._codec.encode(self.aggregate().fold(events[:version]))
            restored = self._codec.decode(self.aggregate, written).fold(events[version:])
            assert restored == live, (
                f"{stream}: a snapshot at version {version} and the events after it add up to {restored!r},"
                f" but it is live as {live!r}"
            )

    @rule()
    def it_is_opened_anew(self) -> None:
        """Forget all that is live, so that the next command is decided on what was stored."""
        self._close()
        self._open()

    @invariant()
    def nothing_else_is_recorded(self) -> None:
        """See that refusals recorded nothing, and that no version is missing."""
        head = self._run(self._store.head())
        assert head == sum(self._versions.values()), f"the log ends at {head}, the streams at {self._versions}"

    def teardown(self) -> None:
        """Close what was opened."""
        try:
            self._close()
        finally:
            self._runner.close()

    def _open(self) -> None:
        self._application = WatchedApplication(store=self._store, router=self.router, codec=self._codec)
        self._run(self._application.__aenter__())

    def _close(self) -> None:
        self._run(self._application.__aexit__(None, None, None))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)
