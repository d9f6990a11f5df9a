"""Slots are cut anew under load, and whoever does a step of it is killed or stopped: each event takes effect once."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from framework.testing import eventually
from tests.faults.node import STOPS_HANDLER, STOPS_PROJECTOR, trap
from tests.faults.servers import Server
from tests.faults.shop import NODES, SLOTS, SOON, Node, Shop

READERS = {"Printer", "Takings v1"}


class Releases:
    """The releases of a shop, each of which wants another number of slots."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.slots = SLOTS
        self.stopped: list[Node] = []
        self._revision = 1

    async def next(self, slots: int) -> None:
        """Roll the next release out to one node: it is started beside the others, and an earlier one closed."""
        self.slots = slots
        self._revision += 1
        earlier = [node for node in self.shop.nodes if node not in self.stopped]
        await self.shop.add(slots, self._revision)
        if len(earlier) >= NODES:
            await self.shop.close(earlier[0])

    async def are_cut(self) -> None:
        """Return when there are as many slots as the last release wants, and all are run."""

        async def is_so() -> None:
            for state in await self.shop.store.subscriptions.states():
                if state.name in READERS:
                    assert (state.is_held, len(state.slots)) == (False, self.slots)
                    assert all(slot.is_owned for slot in state.slots)

        await eventually(is_so, SOON)

    async def one_that_walks_into(self, what: str, step: str, name: str) -> Node:
        """Return the node that comes first to a step of cutting *name*."""
        before = {node: node.said(f"trapped {what}") for node in self.shop.nodes}
        trap(self.shop.folder, what, step, name).touch()
        self.slots, self._revision = 2 if self.slots > SLOTS else 5, self._revision + 1
        await self.shop.add(self.slots, self._revision)
        return await self.one_that_said(f"trapped {what}", before)

    def go_on(self, node: Node) -> None:
        """Have *node* go on that is stopped."""
        self.stopped.remove(node)
        node.signal(signal.SIGCONT)

    async def one_that_said(self, word: str, before: Mapping[Node, int]) -> Node:
        """Return the node that has said *word* more often than *before*."""
        found: list[Node] = []

        def somebody_has() -> None:
            found.extend(node for node in self.shop.nodes if node.said(word) > before.get(node, 0))
            assert found

        await eventually(somebody_has, SOON)
        self.stopped.append(found[0])
        return found[0]


@pytest.fixture(scope="module")
async def releases() -> AsyncIterator[Releases]:
    with TemporaryDirectory(prefix="cut-slots-") as place:
        Path(place).chmod(0o755)
        async with Server.running(Path(place) / "server") as server, Shop.open(server, Path(place)) as shop:
            yield Releases(shop)


def repeated(shop: Shop, handler: str) -> int:
    """Return how many effects of *handler* were done more than once."""
    return sum(count - 1 for count in Counter(shop.effects(handler)).values())


async def test_slots_are_cut_under_load(releases: Releases) -> None:
    async with releases.shop.under_load():
        await releases.next(5)
        await releases.are_cut()

    await releases.shop.check()


@pytest.mark.parametrize(("step", "name"), [("level", "Printer"), ("slots", "Takings v1")])
async def test_who_is_killed_before_a_step_is_replaced(releases: Releases, step: str, name: str) -> None:
    shop = releases.shop
    before = repeated(shop, "Printer")
    async with shop.under_load():
        await shop.kill(await releases.one_that_walks_into("kill", step, name))
        await releases.are_cut()

    await shop.check(repeats=True)  # of what else it ran: the rows are a fold of the log
    if name == "Printer":
        assert repeated(shop, "Printer") == before  # nobody ran it when it was killed


async def test_who_is_stopped_before_a_step_changes_nothing_when_it_goes_on(releases: Releases) -> None:
    shop = releases.shop
    async with shop.under_load():
        stopped = await releases.one_that_walks_into("stop", "rows", "Takings v1")
        await releases.are_cut()
        await releases.next(4)
        await releases.are_cut()
        releases.go_on(stopped)
    await shop.check(repeats=True)
    await releases.are_cut()
    await shop.put_in("1", 1)

    assert await shop.check() == 0


@pytest.mark.parametrize(("amount", "who"), [(STOPS_HANDLER, "Printer"), (STOPS_PROJECTOR, "Takings")])
async def test_an_owner_stopped_in_mid_batch_is_cut_around_and_writes_nothing_when_it_goes_on(
    releases: Releases, amount: int, who: str
) -> None:
    shop = releases.shop
    stops = {node: node.said("stops") for node in shop.nodes}
    async with shop.under_load():
        await shop.put_in("5", amount)
        stopped = await releases.one_that_said("stops", stops)
        await releases.next(2 if releases.slots > SLOTS else 5)
        await releases.are_cut()
        await shop.put_in("5", 1)
    await shop.check(repeats=True)  # without it
    before = stopped.said(f"refused {who}")

    releases.go_on(stopped)

    await eventually(lambda: stopped.said(f"refused {who}") > before, SOON)
    await shop.put_in("5", 1)
    assert await shop.check(repeats=True) <= 1  # the effect it was at
