"""Who goes with whom, and when: the queue that group commit takes its batches from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.store.postgres.queue import BATCH_BYTES, BATCH_EVENTS, SMALLEST_SHARE, AppendQueue
from framework.store.postgres.unit import Unit
from framework.store.protocol import Expected, NewEvent
from tests.store.postgres.hands import event, write

STREAMS = st.lists(st.sampled_from("abcd"), unique=True, max_size=3)

HALF = b'{"text": "' + b"x" * (BATCH_BYTES // 2) + b'"}'
"""A document of more than half a batch."""


def unit(*streams: str, expected: int = Expected.ANY) -> Unit:
    return Unit.of([write(stream, expected) for stream in streams], [])


def put(queue: AppendQueue, *units: Unit) -> None:
    for each in units:
        queue.put(each)


async def test_what_waits_goes_together_in_the_order_of_its_arrival() -> None:
    queue = AppendQueue()
    units = [unit(stream) for stream in "abcab"]
    put(queue, *units)

    assert queue.take(1) == units


async def test_an_append_waits_for_the_batch_that_its_stream_is_in() -> None:
    queue = AppendQueue()
    first, second, other = unit("a"), unit("a"), unit("b")
    put(queue, first)
    on_its_way = queue.take(1)
    put(queue, second, other)

    assert queue.take(1) == [other]
    queue.settle(on_its_way)

    assert queue.take(1) == [second]


async def test_an_append_to_several_streams_is_not_overtaken_at_one_it_does_not_wait_for() -> None:
    queue = AppendQueue()
    both, later, latest = unit("a", "b"), unit("b"), unit("b", "c")
    put(queue, unit("a"))
    on_its_way = queue.take(1)
    put(queue, both, later, latest, unit("d"))

    assert [list(each.streams) for each in queue.take(1)] == [["d"]]
    queue.settle(on_its_way)

    assert queue.take(1) == [both, later, latest]


async def test_what_was_held_back_goes_before_what_came_later() -> None:
    queue = AppendQueue()
    put(queue, unit("a"))
    on_its_way = queue.take(1)
    held = [unit("a") for _ in range(3)]
    put(queue, *held)
    assert not queue.take(1)
    later = [unit("b", "a"), unit("c")]
    put(queue, *later)

    queue.settle(on_its_way)

    assert queue.take(1) == [*held, *later]


async def test_those_who_are_free_to_take_share_what_waits() -> None:
    queue = AppendQueue()
    waiting = [unit(str(number)) for number in range(2 * SMALLEST_SHARE)]
    put(queue, *waiting)

    assert queue.take(2) == waiting[:SMALLEST_SHARE]
    assert queue.take(1) == waiting[SMALLEST_SHARE:]


async def test_a_few_are_not_shared() -> None:
    queue = AppendQueue()
    few = [unit(str(number)) for number in range(SMALLEST_SHARE)]
    put(queue, *few)

    assert queue.take(2) == few


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(st.one_of(STREAMS, st.sampled_from([0, 1])), max_size=60))
def test_no_append_overtakes_another_and_none_is_left(steps: list[list[str] | int]) -> None:
    async def run() -> None:
        queue = AppendQueue()
        arrived: list[Unit] = []
        lanes: list[Sequence[Unit]] = [(), ()]
        left: list[Unit] = []

        def turn(lane: int) -> None:
            queue.settle(lanes[lane])
            lanes[lane] = batch = queue.take(1)
            left.extend(batch)
            in_both = {s for each in lanes[0] for s in each.streams} & {s for each in lanes[1] for s in each.streams}
            assert not in_both, "two to one stream race each other"

        for step in steps:
            if isinstance(step, int):
                turn(step)
            else:
                arrived.append(unit(*step))
                queue.put(arrived[-1])
        while any(lanes) or len(queue):
            turn(0)
            turn(1)

        assert len(left) == len(arrived)
        for stream in "abcd":
            in_order = [each for each in arrived if stream in each.streams]
            assert [each for each in left if stream in each.streams] == in_order

    asyncio.run(run())


async def test_a_second_exact_version_shares_a_batch_only_if_it_builds_on_the_first() -> None:
    queue = AppendQueue()
    first, next_, stale, behind = (unit("a", expected=version) for version in (3, 4, 4, 5))
    put(queue, first, next_, stale, behind)

    batch = queue.take(1)
    assert batch == [first, next_]
    queue.settle(batch)

    assert queue.take(1) == [stale, behind]


async def test_those_who_leave_the_version_open_share_a_batch() -> None:
    queue = AppendQueue()
    units = [unit("a", expected=expected) for expected in (3, Expected.ANY, Expected.STREAM_EXISTS, Expected.ANY)]
    put(queue, *units)

    assert queue.take(1) == units


async def test_an_exact_version_after_an_open_one_goes_in_the_next_batch() -> None:
    queue = AppendQueue()
    opened, exact = unit("a"), unit("a", expected=1)
    put(queue, opened, exact)

    assert queue.take(1) == [opened]


async def test_a_batch_is_bounded_by_its_events() -> None:
    queue = AppendQueue()
    put(queue, *[unit(str(number)) for number in range(BATCH_EVENTS + 1)])

    assert len(queue.take(1)) == BATCH_EVENTS
    assert len(queue.take(1)) == 1


@pytest.mark.parametrize("large", [event(HALF), event()._replace(metadata=HALF)], ids=["data", "metadata"])
async def test_a_batch_is_bounded_by_its_bytes(large: NewEvent) -> None:
    queue = AppendQueue()
    put(queue, *[Unit.of([write(stream, 0, large._replace(event_id=event().event_id))], []) for stream in "abc"])

    assert [list(each.streams) for each in queue.take(1)] == [["a"]]


async def test_an_append_larger_than_a_batch_goes_alone() -> None:
    queue = AppendQueue()
    large = Unit.of([write("large", 0, *[event() for _ in range(BATCH_EVENTS + 1)])], [])
    small = unit("small")
    put(queue, large, small)

    assert queue.take(1) == [large]
    assert queue.take(1) == [small]


async def test_who_was_cancelled_while_waiting_is_left_out() -> None:
    queue = AppendQueue()
    withdrawn, other = unit("a"), unit("a")
    put(queue, withdrawn, other)
    withdrawn.answer.cancel()

    assert queue.take(1) == [other]


async def test_what_is_overdue_is_given_up_oldest_first() -> None:
    queue = AppendQueue()
    overdue, patient = Unit.of([write("a", 0)], [], 0), Unit.of([write("b", 0)], [], 60)
    put(queue, overdue, patient)

    queue.give_up("the database is away", asyncio.get_running_loop().time())

    assert overdue.answer.done()
    assert queue.take(1) == [patient]
