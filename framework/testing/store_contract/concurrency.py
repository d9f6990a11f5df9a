"""What holds when many write at the same time."""

from __future__ import annotations

import asyncio

from framework.errors import (
    DuplicateEvent,
    ReceiptTaken,
    WrongExpectedVersion,
)
from framework.store.protocol import (
    Appended,
    EventStore,
    Expected,
    StreamWrite,
)
from framework.testing.store_contract.parts import (
    PATIENCE_S,
    OnAStore,
    log_of,
    new_event,
    new_events,
    new_receipt,
    outcomes,
    write,
    write_to,
)


class ConcurrencyContract(OnAStore):
    """What holds when many write at the same time."""

    async def test_of_many_who_expect_one_version_one_wins(self, store: EventStore) -> None:
        for version in range(5):
            answers = await outcomes(write(store, "s", new_event(), expected=version) for _ in range(8))

            won = [answer for answer in answers if isinstance(answer, Appended)]
            lost = [answer for answer in answers if isinstance(answer, WrongExpectedVersion)]
            assert [answer.version for answer in won] == [version + 1]
            assert [answer.actual for answer in lost] == [version + 1] * 7

        assert [event.version for event in await store.read_stream("s")] == [1, 2, 3, 4, 5]

    async def test_of_many_who_expect_anything_all_win(self, store: EventStore) -> None:
        answers = await outcomes(write(store, f"s{n % 3}", *new_events(2)) for n in range(60))

        assert all(isinstance(answer, Appended) for answer in answers)
        log = await log_of(store)
        assert [event.position for event in log] == list(range(1, 121))
        for stream in ("s0", "s1", "s2"):
            assert [event.version for event in log if event.stream == stream] == list(range(1, 41))

    async def test_everyone_is_told_where_their_own_events_went(self, store: EventStore) -> None:
        events = new_events(40)

        answers = await outcomes(write(store, f"s{n % 3}", event) for n, event in enumerate(events))

        places = {event.event_id: (event.version, event.position) for event in await log_of(store)}
        assert [(answer.version, answer.position) for answer in answers if isinstance(answer, Appended)] == [
            places[event.event_id] for event in events
        ]

    async def test_a_conflict_refuses_one_append_among_many(self, store: EventStore) -> None:
        await write(store, "hot", new_event())

        answers = await outcomes(write(store, "hot" if n == 7 else f"s{n}", new_event(), expected=0) for n in range(20))

        refused = [n for n, answer in enumerate(answers) if isinstance(answer, WrongExpectedVersion)]
        recorded = [n for n, answer in enumerate(answers) if isinstance(answer, Appended)]
        assert refused == [7]
        assert len(recorded) == 19
        assert [event.position for event in await log_of(store)] == list(range(1, 21))

    async def test_a_taken_id_refuses_one_append_among_many(self, store: EventStore) -> None:
        taken = new_event()
        await write(store, "another", taken)

        answers = await outcomes(write(store, f"s{n}", taken if n == 7 else new_event()) for n in range(20))

        refused = [n for n, answer in enumerate(answers) if isinstance(answer, DuplicateEvent)]
        assert refused == [7]
        assert [event.position for event in await log_of(store)] == list(range(1, 21))

    async def test_appends_to_the_same_streams_in_opposite_orders_all_end(self, store: EventStore) -> None:
        def opposite(number: int) -> list[StreamWrite]:
            writes = [StreamWrite(stream, Expected.ANY, new_events(1)) for stream in ("a", "b", "c")]
            return writes if number % 2 else writes[::-1]

        answers = await outcomes(store.append(opposite(number)) for number in range(20))

        assert all(isinstance(answer, tuple) for answer in answers)
        streams = [event.stream for event in await log_of(store)]
        assert {"".join(streams[start : start + 3]) for start in range(0, 60, 3)} == {"abc", "cba"}

    async def test_the_same_append_at_the_same_time_is_recorded_once(self, store: EventStore) -> None:
        events, receipt = new_events(2), new_receipt(count=2)

        answers = await outcomes(write_to(store, events, receipt) for _ in range(8))

        assert answers == [answers[0]] * 8
        assert isinstance(answers[0], Appended)
        assert await store.head() == 2

    async def test_of_many_who_answer_one_command_one_wins(self, store: EventStore) -> None:
        receipt = new_receipt()

        answers = await outcomes(write_to(store, new_events(1), receipt, stream=f"s{number}") for number in range(8))

        assert sum(isinstance(answer, Appended) for answer in answers) == 1
        assert sum(isinstance(answer, ReceiptTaken) for answer in answers) == 7
        assert await store.head() == 1

    async def test_a_cancelled_append_is_recorded_whole_or_not_at_all(self, store: EventStore) -> None:
        pairs = [new_events(2) for _ in range(30)]
        appends = [
            asyncio.ensure_future(
                store.append([StreamWrite("a", Expected.ANY, [one]), StreamWrite("b", Expected.ANY, [two])])
            )
            for one, two in pairs
        ]
        for append in appends[::2]:
            append.cancel()
            await asyncio.sleep(0)
        await outcomes(appends)

        await write(store, "a", new_event())

        log = await log_of(store)
        recorded = {event.event_id for event in log}
        kept = [pair for pair in pairs if pair[0].event_id in recorded]
        assert [event.position for event in log] == list(range(1, len(log) + 1))
        assert all(two.event_id in recorded for _, two in kept)
        assert len(log) == 2 * len(kept) + 1
        assert len(kept) >= 15

    async def test_a_cancelled_append_leaves_the_store_fit_for_more(self, store: EventStore) -> None:
        append = asyncio.ensure_future(write(store, "s", new_event()))
        append.cancel()
        await outcomes([append])

        async with asyncio.timeout(PATIENCE_S):
            appended = await write(store, "another", new_event())

        assert appended.version == 1

    async def test_one_who_tails_the_log_misses_nothing(self, store: EventStore) -> None:
        async def tail() -> list[int]:
            seen: list[int] = []
            while len(seen) < 50:
                await store.wait_beyond(len(seen))
                page = await store.read_log(after=len(seen), limit=7)
                seen += [event.position for event in page.events]
            return seen

        async with asyncio.timeout(PATIENCE_S * 3), asyncio.TaskGroup() as tasks:
            tail_task = tasks.create_task(tail())
            for number in range(50):
                tasks.create_task(write(store, f"s{number % 5}", new_event()))

        assert tail_task.result() == list(range(1, 51))
