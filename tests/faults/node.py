"""`python -m tests.faults.node DSN SCHEMA FOLDER SLOTS REVISION`: one of several processes that run a shop's handlers.

What a handler does outside of the database is a line in a file of its process: when, which handler, which event. It
says on stdout that it runs, that it is about to stop, and each time that what it writes is refused for its fence.

A file that is called `kill`, or `stop`, and a step and a subscription, is a trap: whoever comes first to that step of
cutting that subscription takes it away, and is killed, or stopped until somebody says go on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from time import monotonic_ns
from typing import Any, ClassVar, Final

from framework import Application, Backoff, Connection, EventHandler, PostgresEventStore, Projector, Recorded
from framework.errors import LeaseLost
from framework.policies import Defaults
from framework.read_models import ReadModel
from framework.store.subscriptions import Cut, OnChange
from tests.runtime.till import Moved, tills

JAMS: Final = 1_001
"""An amount that the printer never prints."""
JAMS_ONCE: Final = 1_002
"""One at which everybody fails the first time."""
STOPS_HANDLER: Final = 1_003
STOPS_PROJECTOR: Final = 1_004
"""Amounts at which the first process that comes to one is stopped, in the middle of what it does."""

TRAPS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

HASTE: Final = {
    "LEASE": timedelta(seconds=3),
    "RENEW": timedelta(seconds=0.5),
    "RECONNECT": Backoff(attempts=0, first=timedelta(milliseconds=50), longest=timedelta(milliseconds=200)),
}
"""What takes seconds so that a database has peace, and would take a test's time."""

QUICK: Final = Defaults(handler_retry=Backoff(attempts=3, first=timedelta(milliseconds=1)))


def say(*words: object) -> None:
    print(*words, flush=True)


class World:
    """What is outside of the database, and outlives a process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = os.open(folder / f"effects-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._failed: set[tuple[str, int]] = set()

    def note(self, handler: str, position: int) -> None:
        """Do something that cannot be undone."""
        os.write(self._file, f"{monotonic_ns()} {handler} {position}\n".encode())

    def fail_once(self, who: str, position: int) -> None:
        """Fail at an event the first time that this process comes to it."""
        if (who, position) not in self._failed:
            self._failed.add((who, position))
            raise OSError("not yet")

    def stop_first(self, position: int) -> None:
        """Stop, as whoever is the first to come to the event, until somebody says go on."""
        try:
            (self._folder / f"stopped-{position}").touch(exist_ok=False)
        except FileExistsError:
            return
        say("stops")
        os.kill(os.getpid(), signal.SIGSTOP)

    def walk_into_trap(self, step: str, name: str) -> None:
        """Be killed or stopped, if this process is the first to come to a step at which somebody is to be."""
        for what, number in TRAPS.items():
            try:
                trap(self._folder, what, step, name).unlink()
            except FileNotFoundError:
                continue
            say("trapped", what, step)
            os.kill(os.getpid(), number)


def trap(folder: Path, what: str, step: str, name: str) -> Path:
    """Return the file that makes *step* of cutting the subscription *name* a trap."""
    return folder / f"{what}-{step}-{name}"


class Printer(EventHandler[Moved]):
    """Prints every event."""

    on_change: ClassVar[OnChange] = "keep"

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle(self, event: Recorded[Moved]) -> None:
        match event.data.amount:
            case amount if amount == JAMS:
                raise OSError("paper jam")
            case amount if amount == JAMS_ONCE:
                self._world.fail_once("Printer", event.position)
            case amount if amount == STOPS_HANDLER:
                self._world.stop_first(event.position)
            case _:
                pass
        self._world.note("Printer", event.position)


class Thirds(EventHandler[Moved]):
    """Fails at every third event the first time."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle(self, event: Recorded[Moved]) -> None:
        if event.position % 3 == 0:
            self._world.fail_once("Thirds", event.position)
        self._world.note("Thirds", event.position)


class Takings(Projector[Moved]):
    """What was moved in each till, and how often."""

    schema = "CREATE TABLE takings (stream text PRIMARY KEY, amount bigint NOT NULL, moves bigint NOT NULL)"

    def __init__(self, world: World) -> None:
        self._world = world

    async def project(self, event: Recorded[Moved], db: Connection) -> None:
        await db.execute(
            "INSERT INTO takings AS t VALUES ($1, $2, 1)"
            " ON CONFLICT (stream) DO UPDATE SET amount = t.amount + excluded.amount, moves = t.moves + 1",
            event.stream,
            event.data.amount,
        )
        if event.data.amount == JAMS_ONCE:
            self._world.fail_once("Takings", event.position)
        if event.data.amount == STOPS_PROJECTOR:
            self._world.stop_first(event.position)


def make_haste() -> None:
    """Let every module of the framework have what is in `HASTE`."""
    for name, module in list(sys.modules.items()):
        if name.startswith("framework."):
            for setting, value in HASTE.items():
                if hasattr(module, setting):
                    setattr(module, setting, value)


def counted(write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return *write* as it is, but for saying when it was refused."""

    async def counting(*arguments: Any) -> Any:
        try:
            return await write(*arguments)
        except LeaseLost as refusal:
            say("refused", refusal.name, refusal.slot, refusal.fence)
            raise

    return counting


def trapped(world: World, step: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return *work*, a step of cutting a subscription, with a trap before it."""

    async def walking(*arguments: Any) -> Any:
        subscription = next(each for each in arguments if isinstance(each, str | Cut))
        world.walk_into_trap(step, subscription if isinstance(subscription, str) else subscription.name)
        return await work(*arguments)

    return walking


async def main(dsn: str, schema: str, folder: str, slots: str, revision: str) -> None:
    """Run the handlers until stdin ends."""
    make_haste()
    world = World(Path(folder))
    for reader in (Printer, Takings):
        reader.partitions, reader.revision = int(slots), int(revision)
    store = PostgresEventStore(dsn, schema=schema)
    subscriptions: Any = store.subscriptions
    subscriptions.advance = counted(store.subscriptions.advance)
    subscriptions.park = counted(store.subscriptions.park)
    subscriptions.terms = counted(store.subscriptions.terms)
    subscriptions.level = trapped(world, "level", store.subscriptions.level)
    subscriptions.cut = trapped(world, "slots", store.subscriptions.cut)
    models: Any = ReadModel
    models.take_over = counted(ReadModel.take_over)
    models.cut = trapped(world, "rows", ReadModel.cut)
    application = Application(
        store=store,
        router=tills(),
        handlers=[Printer(world), Thirds(world)],
        projectors=[Takings(world)],
        defaults=QUICK,
    )
    async with application:
        say("runs")
        ends = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ends), sys.stdin)
        await ends.read()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
