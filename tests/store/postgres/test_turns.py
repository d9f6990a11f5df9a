"""Appends that are decided at the head of the log: who comes meanwhile waits, and no turn is waited for without end."""
# pyright: reportPrivateUsage=false
# A test may look where users may not.

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from framework import PostgresEventStore
from framework.errors import HeadHeldTooLong, StorageUnavailable, WrongExpectedVersion
from framework.store.postgres import turn
from framework.store.protocol import Receipt, StoredEvent, StreamWrite
from framework.testing import eventually
from tests.store.postgres.hands import Hands, write

Found = Mapping[str, Sequence[StoredEvent]]
Read = Callable[[Any, Mapping[str, int]], Any]


def next_event(found: Found) -> tuple[Sequence[StreamWrite], Sequence[Receipt]]:
    return [write("s", len(found["s"]))], ()


class HeldTurn:
    """Holds a turn between its reading and its deciding."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.has_read = asyncio.Event()
        self.may_decide = asyncio.Event()

    async def __call__(self, connection: Any, after: Mapping[str, int]) -> Any:
        found = await self._read(connection, after)
        self.has_read.set()
        await self.may_decide.wait()
        return found


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldTurn:
    held = HeldTurn(turn._read)
    monkeypatch.setattr(turn, "_read", held)
    return held


async def test_who_comes_while_a_turn_is_decided_waits_for_it(
    store: PostgresEventStore, dsn: str, held: HeldTurn
) -> None:
    async with PostgresEventStore(dsn, schema=store.namespace) as other:
        mine = asyncio.ensure_future(store.append_in_turn({"s": 0}, next_event))
        await held.has_read.wait()
        rival = asyncio.ensure_future(other.append([write("s", 0)]))

        async def is_waiting_or_through() -> bool:
            return rival.done() or len((await store.status()).waiting) == 1

        await eventually(is_waiting_or_through)
        held.may_decide.set()

        (appended,) = await mine
        with pytest.raises(WrongExpectedVersion):
            await rival
        assert appended.version == 1


async def test_a_turn_that_takes_too_long_is_undone(
    store: PostgresEventStore, held: HeldTurn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "TURN_AT_MOST", timedelta(milliseconds=200))

    with pytest.raises(HeadHeldTooLong):
        await store.append_in_turn({"s": 0}, next_event)

    assert held.has_read.is_set()
    (appended,) = await store.append([write("s", 0)])
    assert appended.position == 1


async def test_a_turn_that_does_not_come_is_not_waited_for_without_end(
    store: PostgresEventStore, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "HEAD_WAIT_SECONDS", 0.05)
    async with hands.holding_the_head():
        with pytest.raises(StorageUnavailable, match="the log was held by somebody"):
            await store.append_in_turn({"s": 0}, next_event)

    assert await store.append_in_turn({"s": 0}, next_event)


async def test_a_turn_whose_connection_is_ended_has_recorded_nothing(
    store: PostgresEventStore, hands: Hands, held: HeldTurn
) -> None:
    mine = asyncio.ensure_future(store.append_in_turn({"s": 0}, next_event))
    await held.has_read.wait()
    holder = (await store.status()).holder
    assert holder is not None
    await hands.end([holder.pid])
    held.may_decide.set()

    with pytest.raises(StorageUnavailable):
        await mine

    assert await store.head() == 0
    assert await store.append_in_turn({"s": 0}, next_event)
