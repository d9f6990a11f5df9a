"""An application as tests have it: one that can be waited for, and one that needs no database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final, TypedDict, TypeVar, Unpack, overload

import attrs

from framework.application import Application
from framework.codec import Codec
from framework.errors import NotRunning
from framework.evolution import Upcaster
from framework.handler import EventHandler
from framework.journal import Item, Several, Unreadable, pieces
from framework.messages import Recorded
from framework.middleware import Middleware
from framework.policies import Defaults
from framework.process_manager import ProcessManager
from framework.projector import Projector
from framework.router import Router
from framework.runtime.watch import Watch
from framework.selection import Selection
from framework.store.memory import MemoryEventStore
from framework.testing.clock import ManualClock

E = TypeVar("E")

PATIENCE: Final = timedelta(seconds=5)
"""How long a test waits for what should be there in no time."""

LISTED: Final = 20
"""How many events a failure lists, the last ones."""


class WatchedApplication(Application):
    """An `Application` that a test can wait for.

    It is the only one on its log: of what another does with the same events, it hears nothing.
    """

    async def settled(self, within: timedelta = PATIENCE) -> None:
        """Return when nothing that is recorded leads to anything more.

        Every handler, process and projector has handled the whole log, and every process has had an answer to all that
        it sent; commands that were parked, and those behind them, stay where they are. A dispatch is waited for by
        whoever awaits it, and not here. Raises `AssertionError` after *within*, saying who is behind, and the
        `SubsystemFailed` of a part that has died.
        """
        engine = self._alive()
        try:
            async with engine.supervisor.timeout(within.total_seconds()):
                await engine.settled()
        except TimeoutError:
            head = await self._wiring.journal.store.head()
            behind = ", ".join(f"{slot} has come to {position}" for slot, position in engine.behind(head).items())
            behind = behind or "a process has commands on their way"
            message = f"not settled within {within}: the log ends at position {head}, and {behind}"
            raise AssertionError(message) from None

    async def expect(
        self,
        event: type[E],
        *,
        where: Callable[[E], object] | None = None,
        after: int = 0,
        stream: str | None = None,
        within: timedelta = PATIENCE,
    ) -> Recorded[E]:
        """Return the first *event* above the position *after*, as soon as there is one.

        Only one of *stream*, and one that *where* is true of, where these are given. Raises `AssertionError` after
        *within*, listing what came instead, the `SubsystemFailed` of a part that has died, and as `events` does.
        """
        engine = self._alive()
        try:
            async with (
                engine.supervisor.timeout(within.total_seconds()),
                aclosing(self.events(after=after, types=[event], stream=stream)) as events,
            ):
                async for recorded in events:
                    if where is None or where(recorded.data):
                        return recorded
        except TimeoutError:
            came = await self._listed(after)
            message = f"no {event.__name__} as expected within {within} above position {after}; there came{came}"
            raise AssertionError(message) from None
        raise NotRunning

    async def expect_none(
        self,
        event: type[E],
        *,
        where: Callable[[E], object] | None = None,
        after: int = 0,
        stream: str | None = None,
        within: timedelta = PATIENCE,
    ) -> None:
        """Assert that once the application has settled there is no *event* above the position *after*.

        Only one of *stream*, and one that *where* is true of, counts where these are given. Raises as `settled` does.
        """
        await self.settled(within)
        for recorded in await self.recorded(after=after, types=[event], stream=stream):
            is_meant = where is None or where(recorded.data)
            assert not is_meant, f"expected no {event.__name__}, but there is {_described(recorded)}"

    @overload
    async def recorded(
        self, *, after: int = 0, types: Collection[type[E]], stream: str | None = None
    ) -> list[Recorded[E]]: ...

    @overload
    async def recorded(
        self, *, after: int = 0, types: None = None, stream: str | None = None
    ) -> list[Recorded[Any]]: ...

    async def recorded(
        self, *, after: int = 0, types: Collection[type] | None = None, stream: str | None = None
    ) -> list[Recorded[Any]]:
        """Return the events that are in the log now, selected and in order as by `events`; raises as that does."""
        known = self._wiring.journal.types
        names = None if types is None else frozenset(known.name_of(each)[0] for each in types)
        return list(pieces(await self._read(after, Selection(names, "", stream))))

    async def _read(self, after: int, selection: Selection) -> list[Item]:
        journal, limit = self._wiring.journal, self._wiring.defaults.page
        found: list[Item] = []
        while True:
            page = await journal.read_log(after=after, limit=limit, selection=selection)
            found += page.events
            if page.looked_to >= page.head:
                return found
            after = page.looked_to

    async def _listed(self, after: int) -> str:
        events = await self._read(after, Selection())
        omitted = len(events) - LISTED
        lines = [f"{omitted} more before"] if omitted > 0 else []
        lines += map(_described, events[-LISTED:])
        return "".join(f"\n  {line}" for line in lines) or " nothing"


class Parts(TypedDict, total=False):
    """What there may be to an application besides its store, its clock and its router, as `Application` says."""

    handlers: Sequence[EventHandler[Any]]
    processes: Sequence[type[ProcessManager[Any, Any]]]
    projectors: Sequence[Projector[Any]]
    middleware: Sequence[Middleware]
    upcasters: Sequence[Upcaster]
    read_models: str | None
    codec: Codec | None
    defaults: Defaults
    telemetry: Watch


@attrs.frozen
class MemoryApplications:
    """Builds applications that need no database, each on a log of its own, all by one clock."""

    clock: ManualClock

    def __call__(self, router: Router, **parts: Unpack[Parts]) -> WatchedApplication:
        """Return an application of these parts, wired as `Application` wires them, to be opened with `async with`."""
        return WatchedApplication(store=MemoryEventStore(self.clock), router=router, clock=self.clock, **parts)


def assert_correlated(first: Recorded[Any], *others: Recorded[Any]) -> None:
    """Assert that one first command led to all these events."""
    for other in others:
        assert other.correlation_id == first.correlation_id, (
            f"{_described(other)} has the correlation {other.correlation_id}, and not {first.correlation_id} as"
            f" {_described(first)} has"
        )


def _described(event: Item) -> str:
    match event:
        case Unreadable():
            what = f"{event.type}, which cannot be read"
        case Several():
            what = ", ".join(repr(piece.data) for piece in event.pieces)
        case _:
            what = repr(event.data)
    return f"{what} in {event.stream} at position {event.position}"
