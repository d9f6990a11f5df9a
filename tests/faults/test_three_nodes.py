"""Three processes run the handlers of one log, whatever happens to them: nothing is skipped, and nothing done twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import pytest

from framework import Application, Lifespan, PostgresEventStore
from framework.clock import new_id
from framework.errors import DispatchTimeout, OutcomeUnknown, StorageUnavailable
from framework.policies import Defaults
from framework.read_models import schema_name
from framework.store.postgres.listener import Head, Listener
from framework.store.protocol import Expected, NewEvent, StreamWrite
from framework.testing import eventually
from tests.faults.node import JAMS, JAMS_ONCE, STOPS_HANDLER, STOPS_PROJECTOR
from tests.faults.servers import Server
from tests.runtime.till import PutIn, tills

ROOT: Final = Path(__file__).parent.parent.parent
NODES: Final = 3
TILLS: Final = 12
BUSY: Final = 50
"""Events that come before something happens under load, and after it."""
SCHEMA: Final = "shop"
SOON: Final = timedelta(seconds=20)

CUT_LISTEN = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
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

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


class Shop:
    """Three nodes, a process that dispatches, and what all of them have done."""

    def __init__(self, server: Server, folder: Path, store: PostgresEventStore, front: Application) -> None:
        self.server = server
        self.store = store
        self.front = front
        self.nodes: list[Node] = []
        self._folder = folder
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

    async def add(self) -> None:
        """Start a node, and return when it runs."""
        self._started += 1
        words = self._folder / f"words-{self._started}"
        with words.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.faults.node", self.server.dsn, SCHEMA, str(self._folder)),
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
            effects = self._effects(handler)
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

    def _effects(self, handler: str) -> list[int]:
        lines = [line.split() for file in self._folder.glob("effects-*") for line in file.read_text().splitlines()]
        return [int(position) for _, who, position in sorted(lines, key=lambda line: int(line[0])) if who == handler]


@pytest.fixture(scope="module")
async def shop() -> AsyncIterator[Shop]:
    with TemporaryDirectory(prefix="three-nodes-") as place:
        Path(place).chmod(0o755)
        async with Server.running(Path(place) / "server") as server, Shop.open(server, Path(place)) as shop:
            yield shop


async def test_three_nodes_share_the_work_and_do_all_of_it_once(shop: Shop) -> None:
    async with shop.under_load():
        await shop.put_in("0", 5)

    await shop.check()

    async def all_have_a_part() -> None:
        states = await shop.store.subscriptions.slots()
        assert len({state.owner for state in states if state.is_owned}) == NODES

    await eventually(all_have_a_part, SOON)


async def test_a_notification_that_is_lost_is_made_up_for_without_another_append(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell_nobody(listener: Listener, head: Head) -> None:
        del listener, head

    monkeypatch.setattr(Listener, "tell", tell_nobody)
    await shop.put_in("1", 7)

    await shop.check()


async def test_a_connection_that_listens_is_cut_and_nothing_is_missed(shop: Shop) -> None:
    async with shop.server.sql() as sql:
        assert len(await sql.fetch(CUT_LISTEN)) >= NODES
    await shop.put_in("2", 7)

    await shop.check()


async def test_a_commit_that_is_slow_is_waited_for_and_not_passed(shop: Shop) -> None:
    event = NewEvent(new_id(), "Moved", 1, b'{"amount": 3}', b"{}", new_id(), new_id())
    async with (
        asyncio.TaskGroup() as others,
        shop.server.sql() as sql,
        shop.store.joining(sql) as joined,
        sql.transaction(),
    ):
        await joined.append([StreamWrite("till-slow", Expected.ANY, [event])])
        quick = [others.create_task(shop.put_in(f"{number}", 1)) for number in range(TILLS)]
        done, _ = await asyncio.wait(quick, timeout=0.2)
        assert not done

    await shop.check()


async def test_who_fails_once_does_it_once_and_who_always_fails_stops_its_key_alone(shop: Shop) -> None:
    async with shop.under_load():
        for till, amount in (("3", JAMS_ONCE), ("poison", JAMS), ("poison", 1), ("4", JAMS_ONCE), ("poison", 2)):
            await shop.put_in(till, amount)

    await shop.check()


async def test_a_poison_key_among_a_thousand_leaves_the_others_alone(shop: Shop) -> None:
    commands = [PutIn(f"thousand-{number}", JAMS if number == 500 else 1) for number in range(1_000)]
    await shop.front.dispatch_many(commands)
    await shop.put_in("thousand-500", 1)

    await shop.check()


async def test_a_node_that_is_killed_under_load_loses_nothing(shop: Shop, chance: Random) -> None:
    async with shop.under_load():
        await shop.kill(chance.choice(shop.nodes))
        await shop.add()

    await shop.check(repeats=True)


@pytest.mark.parametrize(("amount", "who"), [(STOPS_HANDLER, "Printer"), (STOPS_PROJECTOR, "Takings")])
async def test_a_node_stopped_in_mid_batch_is_replaced_and_writes_nothing_when_it_goes_on(
    shop: Shop, amount: int, who: str
) -> None:
    stops = {node: node.said("stops") for node in shop.nodes}
    async with shop.under_load():
        await shop.put_in("5", amount)
        stopped = await one_that_stops(shop, stops)
        await shop.put_in("5", 1)
    await shop.check(repeats=True)  # without it
    before = stopped.said(f"refused {who}")

    stopped.signal(signal.SIGCONT)

    # The handler finishes the effect it was at, late; then both are told that the slot is not their own any more.
    await eventually(lambda: stopped.said(f"refused {who}") > before, SOON)
    await shop.put_in("5", 1)
    assert await shop.check(repeats=True) <= 1


async def test_a_database_that_is_away_is_waited_for(shop: Shop) -> None:
    async with shop.under_load():
        await shop.server.stop("immediate")
        await eventually(shop.server.is_silent)
        await shop.server.start()

    await shop.check(repeats=True)


async def one_that_stops(shop: Shop, before: Mapping[Node, int]) -> Node:
    """Return the node that has stopped once more than *before*."""
    stopped: list[Node] = []

    def somebody_has() -> None:
        stopped.extend(node for node in shop.nodes if node.said("stops") > before[node])
        assert stopped

    await eventually(somebody_has, SOON)
    return stopped[0]
