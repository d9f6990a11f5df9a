"""What holds when an append is decided while nobody else can append."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from framework.errors import ReceiptTaken, StreamDeleted, WrongExpectedVersion
from framework.store.protocol import Appended, EventStore, Expected, Receipt, StoredEvent, StreamWrite
from framework.testing.store_contract.parts import (
    OnAStore,
    contents_of,
    log_of,
    new_event,
    new_events,
    new_receipt,
    write,
)

Found = Mapping[str, Sequence[StoredEvent]]
Answer = tuple[Sequence[StreamWrite], Sequence[Receipt]]


class TurnContract(OnAStore):
    """What holds when an append is decided while nobody else can append."""

    async def test_who_has_the_turn_sees_what_is_there_and_adds_to_it(self, store: EventStore) -> None:
        first, second, third = new_events(3)
        await write(store, "s", first, second)
        found: list[Found] = []

        def decide(events: Found) -> Answer:
            found.append(events)
            return [StreamWrite("s", 2, [third])], ()

        (appended,) = await store.append_in_turn({"s": 1, "t": 0}, decide)

        (seen,) = found
        assert contents_of(seen["s"]) == contents_of([second])
        assert list(seen["t"]) == []
        assert (appended.stream, appended.version, appended.position) == ("s", 3, 3)
        assert contents_of(await store.read_stream("s")) == contents_of([first, second, third])

    async def test_a_turn_may_come_to_nothing(self, store: EventStore) -> None:
        await write(store, "s", new_event())

        assert await store.append_in_turn({"s": 0}, lambda _: ((), ())) == ()

        assert await store.head() == 1

    async def test_a_turn_may_come_to_a_receipt(self, store: EventStore) -> None:
        receipt = new_receipt(count=0)

        assert await store.append_in_turn({"s": 0}, lambda _: ((), [receipt])) == ()

        assert await store.receipts([receipt.command_id]) == {receipt.command_id: receipt}
        with pytest.raises(ReceiptTaken):
            await store.append_in_turn({"s": 0}, lambda _: ((), [receipt._replace(digest=b"another")]))

    async def test_an_error_in_a_turn_is_raised_and_leaves_nothing(self, store: EventStore) -> None:
        def decide(_: Found) -> Answer:
            message = "undecided"
            raise RuntimeError(message)

        with pytest.raises(RuntimeError, match="undecided"):
            await store.append_in_turn({"s": 0}, decide)

        assert (await write(store, "s", new_event())).position == 1

    async def test_what_does_not_fit_is_refused_in_a_turn_too(self, store: EventStore) -> None:
        with pytest.raises(WrongExpectedVersion):
            await store.append_in_turn({"s": 0}, lambda _: ([StreamWrite("s", 7, [new_event()])], ()))

        assert await store.head() == 0

    async def test_nobody_has_a_turn_at_a_deleted_stream(self, store: EventStore) -> None:
        await write(store, "s", new_event())
        await store.delete_stream("s", 1)

        with pytest.raises(StreamDeleted):
            await store.append_in_turn({"s": 0}, lambda _: ((), ()))

    async def test_of_many_who_ask_for_their_turn_nobody_loses(self, store: EventStore) -> None:
        def decide(events: Found) -> Answer:
            return [StreamWrite("s", len(events["s"]), [new_event()])], ()

        turns = [store.append_in_turn({"s": 0}, decide) for _ in range(12)]
        others = [store.append([StreamWrite("s", Expected.ANY, [new_event()])]) for _ in range(12)]
        answers = await asyncio.gather(*turns, *others)

        assert sorted(places[0].version for places in answers) == list(range(1, 25))
        assert [event.position for event in await log_of(store)] == list(range(1, 25))

    async def test_a_cancelled_turn_keeps_nobody_waiting(self, store: EventStore) -> None:
        turns = [asyncio.ensure_future(store.append_in_turn({"s": 0}, lambda _: ((), ()))) for _ in range(3)]
        await asyncio.sleep(0)
        for turn in turns:
            turn.cancel()
        await asyncio.wait(turns)

        answer = await write(store, "s", new_event())

        assert isinstance(answer, Appended)
        assert answer.position == 1
