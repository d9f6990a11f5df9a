"""Three processes run the handlers of one log, whatever happens to them: nothing is skipped, and nothing done twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from framework.clock import new_id
from framework.store.postgres.listener import Head, Listener
from framework.store.protocol import Expected, NewEvent, StreamWrite
from framework.testing import eventually
from tests.faults.node import JAMS, JAMS_ONCE, STOPS_HANDLER, STOPS_PROJECTOR
from tests.faults.servers import Server
from tests.faults.shop import NODES, SOON, TILLS, Node, Shop
from tests.runtime.till import PutIn

CUT_LISTEN = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"


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
    before = stopped.was_told(who)

    stopped.signal(signal.SIGCONT)

    # The handler finishes the effect it was at, late; then both are told that the slot is not their own any more.
    await eventually(lambda: stopped.was_told(who) > before, SOON)
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
