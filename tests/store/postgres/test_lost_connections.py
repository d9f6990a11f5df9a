"""A connection that is lost while its backend waits for the head: each append is recorded once, and its answer is true.

The socket is cut and the backend, which waits for a lock, does not notice: it goes on when it gets the lock, if it was
not ended, before what was sent again or after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from framework import PostgresEventStore
from framework.errors import OutcomeUnknown, ReceiptTaken, StorageUnavailable, WrongExpectedVersion
from framework.store.postgres.database import Database
from framework.store.protocol import Appended, Expected, Receipt, StreamWrite
from tests.store.postgres.hands import Hands, cut, event, write

EXPECTATIONS = pytest.mark.parametrize(
    "expected", [Expected.ANY, Expected.NO_STREAM, Expected.STREAM_EXISTS, 2], ids=["any", "none", "exists", "exact"]
)
ENDINGS = pytest.mark.parametrize("ending", ["commits", "is rolled back"])


async def stream_for(store: PostgresEventStore, expected: int) -> int:
    """Make stream a into one that meets *expected*, and return its version."""
    if expected == Expected.NO_STREAM:
        return 0
    await store.append([write("a", 0, event(), event())])
    return 2


async def lose(store: PostgresEventStore, hands: Hands, ending: str) -> None:
    """Cut the connection of the append that waits, have it sent again, and end its backend if it shall not commit."""
    (pid,) = await hands.waiting_appends(1)
    cut(store, pid)
    await hands.waiting_appends(2)
    if ending == "is rolled back":
        await hands.end([pid])
        await hands.ended(pid)


async def recorded(store: PostgresEventStore, stream: str) -> list[object]:
    return [stored.event_id for stored in await store.read_stream(stream)]


@EXPECTATIONS
@ENDINGS
async def test_an_append_cut_off_before_the_head_is_recorded_once(
    store: PostgresEventStore, hands: Hands, expected: int, ending: str
) -> None:
    before = await stream_for(store, expected)
    new = event()
    async with hands.holding_the_head():
        append = asyncio.ensure_future(store.append([write("a", expected, new)]))
        await lose(store, hands, ending)

    (appended,) = await append

    assert (appended.version, appended.position) == (before + 1, before + 1)
    assert (await recorded(store, "a"))[before:] == [new.event_id]
    assert await store.head() == before + 1


@ENDINGS
async def test_each_append_of_a_batch_that_was_cut_off_has_its_true_answer(
    store: PostgresEventStore, hands: Hands, ending: str
) -> None:
    await store.append([write("known", 0)])
    receipt, repeated = new_receipt(), new_receipt()
    await store.append([], [repeated])
    async with hands.holding_the_head():
        batch = [
            asyncio.ensure_future(store.append(writes, receipts))
            for writes, receipts in (
                ([write("new", 0, event(), event())], []),
                ([write("new", 2)], []),
                ([write("known", 7)], []),
                ([write("open", Expected.ANY), write("other", 0)], []),
                ([], [receipt]),
                ([write("late", 0)], [repeated._replace(digest=b"another")]),
                ([write("missing", Expected.STREAM_EXISTS)], []),
            )
        ]
        await lose(store, hands, ending)

    new, after_new, stale, several, alone, taken, missing = await asyncio.gather(*batch, return_exceptions=True)

    assert versions(new) == [("new", 2)]
    assert versions(after_new) == [("new", 3)]
    assert isinstance(stale, WrongExpectedVersion)
    assert versions(several) == [("open", 1), ("other", 1)]
    assert alone == ()
    assert isinstance(taken, ReceiptTaken)
    assert isinstance(missing, WrongExpectedVersion)
    streams = sorted(stored.stream for stored in (await store.read_log()).events)
    assert streams == ["known", "new", "new", "new", "open", "other"]
    assert await store.receipts([receipt.command_id]) == {receipt.command_id: receipt}


@ENDINGS
async def test_a_receipt_cut_off_before_the_head_is_kept_once(
    store: PostgresEventStore, hands: Hands, ending: str
) -> None:
    receipt = new_receipt()
    async with hands.holding_the_head():
        append = asyncio.ensure_future(store.append([], [receipt]))
        await lose(store, hands, ending)

    assert await append == ()
    assert await store.receipts([receipt.command_id]) == {receipt.command_id: receipt}
    assert await store.head() == 0


@pytest.mark.parametrize(
    ("expected", "later"),
    [
        (Expected.STREAM_EXISTS, [write("a", 0)]),
        (2, [write("a", 0, event(), event())]),
        (Expected.ANY, []),
        (Expected.NO_STREAM, []),
    ],
    ids=["exists", "exact", "any", "none"],
)
async def test_a_lost_backend_that_comes_late_changes_no_answer(
    dsn: str, store: PostgresEventStore, hands: Hands, expected: int, later: Sequence[StreamWrite]
) -> None:
    """What was sent again is refused; then the stream becomes what the lost one expects, and only then it goes on."""
    new = event()
    await asyncio.gather(store.append([write("x", 0)]), store.append([write("y", 0)]))
    pids = await lanes(store)
    await hands.gate(pids)
    append = asyncio.ensure_future(store.append([write("a", expected, new)]))
    (pid,) = await hands.waiting_appends(1)
    cut(store, pid)

    answer = (await asyncio.gather(append, return_exceptions=True))[0]
    async with PostgresEventStore(dsn, schema=store.namespace) as other:
        await other.append(later)
        await hands.open_gate()
        await hands.ended(pid)
        is_recorded = new.event_id in await recorded(other, "a")
        head = await other.head()

    assert isinstance(answer, WrongExpectedVersion) != is_recorded, "the answer was true, and it stays true"
    assert head == 2 + sum(len(each.events) for each in later) + is_recorded


async def test_an_append_that_nobody_can_be_asked_about_is_unknown_and_those_never_sent_are_not(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PostgresEventStore(dsn, schema=schema, give_up_after_s=0.2) as store, Hands.on(dsn, schema) as hands:
        async with hands.holding_the_head():
            ahead = await hands.occupy(store)
            queued = asyncio.ensure_future(store.append([write("queued", 0)]))
            await asyncio.sleep(0)

            async def refused(*_: object, **__: object) -> None:
                raise StorageUnavailable("nobody is there")

            monkeypatch.setattr(Database, "connect", refused)
            for pid in await lanes(store):
                cut(store, pid)

            answers = await asyncio.gather(*ahead, queued, return_exceptions=True)
        monkeypatch.undo()
        (appended,) = await store.append([write("after", 0)])

    assert [type(answer) for answer in answers] == [OutcomeUnknown, OutcomeUnknown, StorageUnavailable]
    assert appended.version == 1


async def test_an_append_that_may_be_recorded_is_not_called_refused_when_it_is_sent_again_in_vain(
    store: PostgresEventStore, hands: Hands
) -> None:
    await hands.sql.execute(
        "CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not again'; END $$;"
        " CREATE TRIGGER deny BEFORE INSERT ON fences EXECUTE FUNCTION deny()"
    )
    new = event()
    async with hands.holding_the_head():
        append = asyncio.ensure_future(store.append([write("a", 0, new)]))
        await lose(store, hands, "commits")

    with pytest.raises(OutcomeUnknown):
        await append

    assert await recorded(store, "a") == [new.event_id]


async def test_what_is_noted_of_a_batch_that_was_sent_again_is_forgotten_with_the_receipts(
    store: PostgresEventStore, hands: Hands
) -> None:
    for stream in ("old", "new"):
        async with hands.holding_the_head():
            append = asyncio.ensure_future(store.append([write(stream, 0)]))
            await lose(store, hands, "commits")
        await append
        if stream == "old":
            await hands.sql.execute("UPDATE fences SET recorded_at = recorded_at - interval '31 days'")
    new = await hands.sql.fetch("SELECT batch FROM fences WHERE recorded_at > now() - interval '1 day'")

    await store.prune_receipts(datetime.now(UTC) - timedelta(days=32))
    assert await hands.sql.fetchval("SELECT count(*) FROM fences") == 2
    await store.prune_receipts(datetime.now(UTC) + timedelta(days=1))

    assert len(new) == 1
    assert await hands.sql.fetch("SELECT batch FROM fences") == new, "its lost attempt may still come"


async def test_whoever_stops_waiting_while_the_connection_is_lost_leaves_the_append_on_its_way(
    store: PostgresEventStore, hands: Hands
) -> None:
    async with hands.holding_the_head():
        append = asyncio.ensure_future(store.append([write("a", 0)]))
        (pid,) = await hands.waiting_appends(1)
        await hands.end([pid])
        append.cancel()
        await hands.waiting_appends(1)
    await asyncio.wait([append])

    (after,) = await store.append([write("a", 1)])

    assert after.version == 2


async def test_whoever_stops_waiting_leaves_an_append_that_was_sent_on_its_way(
    store: PostgresEventStore, hands: Hands
) -> None:
    async with hands.holding_the_head():
        append = asyncio.ensure_future(store.append([write("a", 0)]))
        await hands.waiting_appends(1)
        append.cancel()
        await asyncio.wait([append])

    (after,) = await store.append([write("a", 1)])

    assert append.cancelled()
    assert after.version == 2


async def test_a_chain_of_which_one_was_withdrawn_is_refused_from_there_on(
    store: PostgresEventStore, hands: Hands
) -> None:
    async with hands.holding_the_head():
        ahead = await hands.occupy(store)
        chain = [asyncio.ensure_future(store.append([write("chain", n)])) for n in range(3)]
        await asyncio.sleep(0)
        chain[1].cancel()

    await asyncio.gather(*ahead)
    first, second, third = await asyncio.gather(*chain, return_exceptions=True)

    assert versions(first) == [("chain", 1)]
    assert isinstance(second, asyncio.CancelledError)
    assert isinstance(third, WrongExpectedVersion)


async def test_closing_while_the_database_is_away_answers_everyone(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise StorageUnavailable("nobody is there")

    monkeypatch.setattr(Database, "connect", refused)
    async with asyncio.timeout(10), PostgresEventStore(dsn, schema=schema, give_up_after_s=0.3) as store:
        appends = [asyncio.ensure_future(store.append([write("a", Expected.ANY)])) for _ in range(3)]
        await asyncio.sleep(0)

    answers = await asyncio.gather(*appends, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["nobody is there"] * 3


async def test_a_store_that_is_torn_down_leaves_nobody_waiting(dsn: str, schema: str) -> None:
    async with Hands.on(dsn, schema) as hands:
        store = await PostgresEventStore(dsn, schema=schema).__aenter__()
        async with hands.holding_the_head():
            sent = asyncio.ensure_future(store.append([write("a", 0)]))
            await hands.waiting_appends(1)
            behind = asyncio.ensure_future(store.append([write("a", 1)]))
            closing = asyncio.ensure_future(store.__aexit__(None, None, None))
            await asyncio.sleep(0)
            closing.cancel()
            answers = await asyncio.gather(sent, behind, return_exceptions=True)
            await asyncio.wait([closing])

    assert [type(answer) for answer in answers] == [OutcomeUnknown, StorageUnavailable]


async def lanes(store: PostgresEventStore) -> list[int]:
    return [lane.pid for lane in (await store.status()).lanes if lane.pid is not None]


def versions(places: tuple[Appended, ...] | BaseException) -> list[tuple[str, int]]:
    assert not isinstance(places, BaseException)
    return [(place.stream, place.version) for place in places]


def new_receipt() -> Receipt:
    return Receipt(uuid4(), b"\x00digest\xff", "a", 1, 0, b'{"name": "Closed"}')
