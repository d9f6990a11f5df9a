"""Who goes with whom, and when: the queue that group commit takes its batches from."""
# pyright: reportPrivateUsage=false
# A test may look where users may not.

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from framework.store.postgres.queue import BATCH_BYTES, BATCH_EVENTS, SMALLEST_SHARE, AppendQueue
from framework.store.postgres.unit import Unit
from framework.store.protocol import Expected
from tests.store.postgres.hands import event, write

STREAMS = st.lists(st.sampled_from("abcd"), unique=True, max_size=3)


def unit(*streams: str, expected: int = Expected.ANY) -> Unit:
    return Unit.of([write(stream, expected) for stream in streams], [])


async def batch_of(queue: AppendQueue) -> Sequence[Unit]:
    """Take the next batch, which is there already."""
    async with asyncio.timeout(1):
        return await queue.next_batch()


def put(queue: AppendQueue, *units: Unit) -> None:
    for each in units:
        queue.put(each)


async def test_what_waits_goes_together_in_the_order_of_its_arrival() -> None:
    queue = AppendQueue()
    units = [unit(stream) for stream in "abcab"]
    put(queue, *units)

    assert await batch_of(queue) == units


async def test_an_append_waits_for_the_batch_that_its_stream_is_in() -> None:
    queue = AppendQueue()
    first, second, other = unit("a"), unit("a"), unit("b")
    put(queue, first)
    on_its_way = await batch_of(queue)
    put(queue, second, other)

    assert await batch_of(queue) == [other]
    queue.settle(on_its_way)

    assert await batch_of(queue) == [second]


async def test_an_append_to_several_streams_is_not_overtaken_at_one_it_does_not_wait_for() -> None:
    queue = AppendQueue()
    both, later, latest = unit("a", "b"), unit("b"), unit("b", "c")
    put(queue, unit("a"))
    on_its_way = await batch_of(queue)
    put(queue, both, later, latest, unit("d"))

    assert [list(each.streams) for each in await batch_of(queue)] == [["d"]]
    queue.settle(on_its_way)

    assert await batch_of(queue) == [both, later, latest]


async def test_what_was_held_back_goes_before_what_came_later() -> None:
    queue = AppendQueue()
    put(queue, unit("a"))
    on_its_way = await batch_of(queue)
    held = [unit("a") for _ in range(3)]
    put(queue, *held)
    assert not queue._take()
    later = [unit("b", "a"), unit("c")]
    put(queue, *later)

    queue.settle(on_its_way)

    assert await batch_of(queue) == [*held, *later]


async def test_lanes_that_are_free_share_what_waits() -> None:
    queue = AppendQueue()
    waiting = [unit(str(number)) for number in range(2 * SMALLEST_SHARE)]
    lanes = [asyncio.ensure_future(queue.next_batch()) for _ in range(2)]
    await asyncio.sleep(0)

    put(queue, *waiting)

    assert await asyncio.gather(*lanes) == [waiting[:SMALLEST_SHARE], waiting[SMALLEST_SHARE:]]


async def test_a_few_are_not_shared_and_one_free_lane_takes_all() -> None:
    queue = AppendQueue()
    few = [unit(str(number)) for number in range(SMALLEST_SHARE)]
    lanes = [asyncio.ensure_future(queue.next_batch()) for _ in range(2)]
    await asyncio.sleep(0)

    put(queue, *few)
    assert await lanes[0] == few
    many = [unit(f"later-{number}") for number in range(2 * SMALLEST_SHARE)]
    put(queue, *many)

    assert await lanes[1] == many


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
            lanes[lane] = batch = queue._take()
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

    batch = await batch_of(queue)
    assert batch == [first, next_]
    queue.settle(batch)

    assert await batch_of(queue) == [stale, behind]


async def test_those_who_leave_the_version_open_share_a_batch() -> None:
    queue = AppendQueue()
    units = [unit("a", expected=expected) for expected in (3, Expected.ANY, Expected.STREAM_EXISTS, Expected.ANY)]
    put(queue, *units)

    assert await batch_of(queue) == units


async def test_an_exact_version_after_an_open_one_goes_in_the_next_batch() -> None:
    queue = AppendQueue()
    opened, exact = unit("a"), unit("a", expected=1)
    put(queue, opened, exact)

    assert await batch_of(queue) == [opened]


async def test_a_batch_is_bounded_by_its_events() -> None:
    queue = AppendQueue()
    put(queue, *[unit(str(number)) for number in range(BATCH_EVENTS + 1)])

    assert len(await batch_of(queue)) == BATCH_EVENTS
    assert len(await batch_of(queue)) == 1


async def test_a_batch_is_bounded_by_its_bytes() -> None:
    queue = AppendQueue()
    half = event(b'"' + b"x" * (BATCH_BYTES // 2) + b'"')
    put(queue, *[Unit.of([write(stream, 0, half._replace(event_id=event().event_id))], []) for stream in "abc"])

    assert [list(each.streams) for each in await batch_of(queue)] == [["a"]]


async def test_an_append_larger_than_a_batch_goes_alone() -> None:
    queue = AppendQueue()
    large = Unit.of([write("large", 0, *[event() for _ in range(BATCH_EVENTS + 1)])], [])
    small = unit("small")
    put(queue, large, small)

    assert await batch_of(queue) == [large]
    assert await batch_of(queue) == [small]


async def test_who_was_cancelled_while_waiting_is_left_out() -> None:
    queue = AppendQueue()
    withdrawn, other = unit("a"), unit("a")
    put(queue, withdrawn, other)
    withdrawn.answer.cancel()

    assert await batch_of(queue) == [other]


async def test_a_lane_that_is_cancelled_in_its_turn_leaves_it_to_another() -> None:
    queue = AppendQueue()
    lanes = [asyncio.ensure_future(queue.next_batch()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.put(unit("a"))

    lanes[0].cancel()

    async with asyncio.timeout(1):
        assert len(await lanes[1]) == 1
    await asyncio.wait(lanes)


async def test_what_is_overdue_is_given_up_oldest_first() -> None:
    queue = AppendQueue()
    overdue, patient = Unit.of([write("a", 0)], [], 0), Unit.of([write("b", 0)], [], 60)
    put(queue, overdue, patient)

    queue.give_up("the database is away", asyncio.get_running_loop().time())

    assert overdue.answer.done()
    assert await batch_of(queue) == [patient]
