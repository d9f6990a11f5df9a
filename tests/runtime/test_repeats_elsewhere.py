"""One id at two nodes at once: both have decided before either is recorded, and there is one outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

import attrs
import pytest

from framework import Application, DispatchResult, MemoryEventStore, PostgresEventStore
from framework.errors import CommandIdReused
from framework.store.protocol import Appended, Receipt, StreamWrite
from tests.runtime.till import NotEnough, PutIn, TakeOut, Till, tills

T = TypeVar("T")


@attrs.define
class Gate:
    """Holds back the appends of all stores that have it."""

    is_open: asyncio.Event = attrs.field(factory=asyncio.Event)
    arrived: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(0))

    async def pass_(self) -> None:
        self.arrived.release()
        await self.is_open.wait()


class GatedMemory(MemoryEventStore):
    """A log in memory behind a gate."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        await self._gate.pass_()
        return await super().append(writes, receipts)


class GatedPostgres(PostgresEventStore):
    """A log in PostgreSQL behind a gate."""

    def __init__(self, dsn: str, schema: str, gate: Gate) -> None:
        super().__init__(dsn, schema=schema)
        self._gate = gate

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        await self._gate.pass_()
        return await super().append(writes, receipts)


@attrs.frozen
class Nodes:
    """Two applications on one log."""

    one: Application
    other: Application
    gate: Gate

    async def together(
        self, first: Sequence[object], second: Sequence[object] = (), *, command_id: UUID | None = None
    ) -> list[DispatchResult | BaseException]:
        """Have the nodes decide their commands, all under one id, before anything is recorded of either."""
        command_id = command_id or uuid4()
        return await self.outcomes(
            node.dispatch(command, command_id=command_id)
            for node, commands in ((self.one, first), (self.other, second or first))
            for command in commands
        )

    async def outcomes(self, dispatches: Iterable[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
        """Return what *dispatches* come to, once the nodes have decided and before anything is recorded of either."""
        self.gate.is_open.clear()
        self.gate.arrived = asyncio.Semaphore(0)
        asked = [asyncio.ensure_future(dispatch) for dispatch in dispatches]
        for _ in (self.one, self.other):
            await self.gate.arrived.acquire()
        self.gate.is_open.set()
        return await asyncio.gather(*asked, return_exceptions=True)


@pytest.fixture(params=["memory", "postgres"])
async def nodes(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Nodes]:
    gate = Gate()
    gate.is_open.set()
    schema = f"repeats_{uuid4().hex[:12]}"
    one = GatedMemory(gate) if request.param == "memory" else GatedPostgres(dsn, schema, gate)
    other = one if request.param == "memory" else GatedPostgres(dsn, schema, gate)
    async with (
        Application(store=one, router=tills()) as first,
        Application(store=other, router=tills()) as second,
    ):
        await first.dispatch(PutIn("a", 10))
        yield Nodes(first, second, gate)


async def test_what_is_accepted_takes_effect_once_and_is_answered_alike(nodes: Nodes) -> None:
    answers = await nodes.together([PutIn("a", 5)] * 3)

    assert {answer.version for answer in answers if isinstance(answer, DispatchResult)} == {2}
    assert len({repr(answer) for answer in answers}) == 1
    assert await nodes.one.state(Till, "a") == Till(15)


async def test_what_is_refused_is_refused_alike_and_stays_so(nodes: Nodes) -> None:
    command_id = uuid4()

    refusals = await nodes.together([TakeOut("a", 11)], command_id=command_id)

    assert [type(refusal) for refusal in refusals] == [NotEnough, NotEnough]
    assert [str(refusal) for refusal in refusals] == ["11 exceeds 10"] * 2
    await nodes.one.dispatch(PutIn("a", 100))
    for node in (nodes.one, nodes.other):
        with pytest.raises(NotEnough, match="11 exceeds 10"):
            await node.dispatch(TakeOut("a", 11), command_id=command_id)


async def test_nothing_to_do_is_one_answer_too(nodes: Nodes) -> None:
    answers = await nodes.together([PutIn("a", 0)])

    one, other = answers
    assert isinstance(one, DispatchResult)
    assert one == other
    assert (one.version, one.events) == (1, ())


@pytest.mark.parametrize("second", [PutIn("a", 6), PutIn("b", 5)], ids=["another command", "another aggregate"])
async def test_of_two_commands_under_one_id_one_is_decided(nodes: Nodes, second: PutIn) -> None:
    answers = await nodes.together([PutIn("a", 5)], [second])

    accepted = [answer for answer in answers if isinstance(answer, DispatchResult)]
    refused = [answer for answer in answers if isinstance(answer, CommandIdReused)]
    assert (len(accepted), len(refused)) == (1, 1)
    contents = [(await nodes.other.state(Till, till)).content for till in "ab"]
    assert sum(contents) == 10 + accepted[0].events[0].amount


async def test_several_under_one_id_take_effect_once_and_are_answered_alike(nodes: Nodes) -> None:
    command_id = uuid4()
    move = [TakeOut("a", 4), PutIn("b", 4)]

    one, other = await nodes.outcomes(
        node.dispatch_together(move, command_id=command_id) for node in (nodes.one, nodes.other)
    )

    assert not isinstance(one, BaseException)
    assert one == other
    assert [(result.stream, result.version, result.position) for result in one] == [("till-a", 2, 2), ("till-b", 1, 3)]
    assert [(await nodes.other.state(Till, till)).content for till in "ab"] == [6, 4]
