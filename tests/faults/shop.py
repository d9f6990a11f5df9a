"""Several processes that run the handlers of one log, and what all of them have done."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import attrs

from framework import Application, Lifespan, PostgresEventStore
from framework.clock import new_id
from framework.errors import DispatchTimeout, OutcomeUnknown, StorageUnavailable
from framework.policies import Defaults
from framework.read_models import schema_name
from framework.testing import eventually
from tests.faults.node import JAMS
from tests.faults.servers import Server
from tests.runtime.till import PutIn, tills

ROOT: Final = Path(__file__).parent.parent.parent
NODES: Final = 3
SLOTS: Final = 3
TILLS: Final = 12
BUSY: Final = 50
"""Events that come before something happens under load, and after it."""
SCHEMA: Final = "shop"
SOON: Final = timedelta(seconds=20)

MOVES = f"SELECT position, stream, (data ->> 'amount')::bigint FROM {SCHEMA}.events ORDER BY position"
TAKINGS = f'SELECT stream, amount, moves FROM "{schema_name(SCHEMA, "Takings", 1)}".takings'


@attrs.frozen(eq=False)
class Node:
    """A process of the shop."""

    process: asyncio.subprocess.Process
    words: Path
    """The file of what it says."""

    def said(self, word: str) -> int:
        """Return how many lines it has said that begin with *word*."""
        return sum(line.startswith(word) for line in self.words.read_text().splitlines())

    def was_told(self, handler: str) -> int:
        """Return how often a slot of *handler* was not its own any more: by a refusal, or found out before it wrote."""
        lines = self.words.read_text().splitlines()
        noticed = sum("lease_lost" in line and f"handler={handler} " in line for line in lines)
        return self.said(f"refused {handler}") + noticed

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


class Shop:
    """Three nodes, a process that dispatches, and what all of them have done."""

    def __init__(self, server: Server, folder: Path, store: PostgresEventStore, front: Application) -> None:
        self.server = server
        self.store = store
        self.front = front
        self.nodes: list[Node] = []
        self.folder = folder
        self._started = 0
        self._repeated = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, server: Server, folder: Path) -> AsyncGenerator[Shop, None]:
        patient = Defaults(dispatch_timeout=timedelta(seconds=30), lifespan=Lifespan(idle_after=timedelta(0)))
        store = PostgresEventStore(server.dsn, schema=SCHEMA)
        front = Application(store=store, router=tills(), defaults=patient)
        async with front:
            shop = cls(server, folder, store, front)
            try:
                for _ in range(NODES):
                    await shop.add()
                yield shop
            finally:
                for node in list(shop.nodes):
                    await shop.kill(node)

    async def add(self, slots: int = SLOTS, revision: int = 1) -> None:
        """Start a node of the release that wants so many *slots*, and return when it runs."""
        self._started += 1
        words = self.folder / f"words-{self._started}"
        with words.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.faults.node"),
                *(self.server.dsn, SCHEMA, str(self.folder), str(slots), str(revision)),
                cwd=ROOT,
                env=os.environ | {"PYTHONASYNCIODEBUG": ""},
                stdin=asyncio.subprocess.PIPE,
                stdout=file,
            )
        node = Node(process, words)
        self.nodes.append(node)
        await eventually(lambda: node.said("runs") == 1, SOON)

    async def kill(self, node: Node) -> None:
        """Kill *node*; nobody is told."""
        with suppress(ProcessLookupError):
            node.signal(signal.SIGKILL)
        await node.process.wait()
        self.nodes.remove(node)

    async def close(self, node: Node) -> None:
        """Have *node* finish what it has in hand, and end."""
        assert node.process.stdin is not None
        node.process.stdin.close()
        await node.process.wait()
        self.nodes.remove(node)

    async def put_in(self, till: str, amount: int) -> int:
        """Put *amount* into *till*, whatever the database does, and return the position of that."""
        command_id = new_id()
        while True:
            try:
                return (await self.front.dispatch(PutIn(till, amount), command_id=command_id)).position
            except (StorageUnavailable, OutcomeUnknown, DispatchTimeout):
                await asyncio.sleep(0.05)  # as a customer does

    @asynccontextmanager
    async def under_load(self) -> AsyncGenerator[None, None]:
        """Have customers put money into all tills while inside."""
        is_over = False

        async def customer(number: int) -> None:
            while not is_over:
                await self.put_in(f"{number}", 1)

        async with asyncio.TaskGroup() as customers:
            for number in range(TILLS):
                customers.create_task(customer(number))
            await self.goes_on()
            yield
            await self.goes_on()
            is_over = True

    async def goes_on(self) -> None:
        """Return when the log has grown by a number of events."""
        goal = BUSY + await self.put_in("busy", 1)

        async def has_grown() -> None:
            try:
                head = await self.store.head()
            except StorageUnavailable as error:
                raise AssertionError from error
            assert head >= goal

        await eventually(has_grown, SOON)

    async def check(self, *, repeats: bool = False) -> int:
        """See all handled soon, each once, or at least once with *repeats*; return how many effects were repeated."""
        found = Counter[int]()

        async def all_is_handled() -> None:
            found[0] = await self._compare()

        await eventually(all_is_handled, SOON)
        assert repeats or found[0] == self._repeated, "something was done twice"
        again, self._repeated = found[0] - self._repeated, found[0]
        return again

    async def _compare(self) -> int:
        async with self.server.sql() as sql, sql.transaction(isolation="repeatable_read"):
            moves = await sql.fetch(MOVES)
            rows = {row[0]: (row[1], row[2]) for row in await sql.fetch(TAKINGS)}
        takings: dict[str, tuple[int, int]] = {}
        parked: set[int] = set()
        jammed: set[str] = set()
        for position, stream, amount in moves:
            total, count = takings.get(stream, (0, 0))
            takings[stream] = total + amount, count + 1
            if amount == JAMS:
                jammed.add(stream)
            if stream in jammed:
                parked.add(position)
        assert rows == takings
        streams: dict[int, str] = {position: stream for position, stream, _ in moves}
        repeats = 0
        for handler, wanted in {"Printer": streams.keys() - parked, "Thirds": streams.keys()}.items():
            effects = self.effects(handler)
            assert set(effects) == wanted
            first = list(dict.fromkeys(effects))
            by_stream: defaultdict[str, list[int]] = defaultdict(list)
            for position in first:
                by_stream[streams[position]].append(position)
            assert all(each == sorted(each) for each in by_stream.values()), f"{handler} was out of order"
            repeats += len(effects) - len(first)
        set_aside = await self.store.subscriptions.parked()
        assert {event.position for event in set_aside} == parked
        return repeats

    def effects(self, handler: str) -> list[int]:
        """Return the positions of the events that *handler* has done something for, as often as it has."""
        lines = [line.split() for file in self.folder.glob("effects-*") for line in file.read_text().splitlines()]
        return [int(position) for _, who, position in sorted(lines, key=lambda line: int(line[0])) if who == handler]
