"""A mailbox holds so much and no more, and lets nobody wait who came first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from framework.runtime.mailbox import Mailbox


def put(mailbox: Mailbox[str], item: str) -> asyncio.Task[None]:
    return asyncio.create_task(mailbox.put(item))


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_put_is_taken_in_order_and_at_most_so_many() -> None:
    mailbox: Mailbox[str] = Mailbox(3)
    for item in "abc":
        await mailbox.put(item)

    assert mailbox.take(2) == ["a", "b"]
    assert mailbox.take(2) == ["c"]
    assert mailbox.take(2) == []


async def test_a_full_mailbox_lets_its_producers_wait() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("a")
    waiting = put(mailbox, "b")
    await settled()

    assert not waiting.done()
    assert mailbox.take(10) == ["a"]
    await waiting
    assert mailbox.take(10) == ["b"]


async def test_those_who_wait_are_let_in_as_there_is_room_in_the_order_they_came() -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    await mailbox.put("a")
    await mailbox.put("b")
    waiting = [put(mailbox, item) for item in "cde"]
    await settled()

    assert mailbox.take(10) == ["a", "b"]
    await settled()
    assert mailbox.take(10) == ["c", "d"]
    await settled()
    assert mailbox.take(10) == ["e"]
    await asyncio.gather(*waiting)


async def test_who_comes_when_there_is_room_again_does_not_go_before_who_waited() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("a")
    waiting = put(mailbox, "waited")
    await settled()

    late = put(mailbox, "late")  # runs next, and before the one who waited learns that there is room
    assert mailbox.take(1) == ["a"]
    await settled()

    assert mailbox.take(1) == ["waited"]
    await settled()
    assert mailbox.take(1) == ["late"]
    await asyncio.gather(waiting, late)


async def test_a_mailbox_never_holds_more_than_its_limit() -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    producers = [put(mailbox, str(number)) for number in range(20)]
    taken: list[str] = []

    while len(taken) < 20:
        await settled()
        some = mailbox.take(10)
        assert 0 < len(some) <= 2
        taken += some

    assert taken == [str(number) for number in range(20)]
    await asyncio.gather(*producers)


async def test_a_producer_cancelled_while_it_waits_adds_nothing_and_is_passed_over() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("a")
    gone, next_ = put(mailbox, "gone"), put(mailbox, "next")
    await settled()

    gone.cancel()
    assert mailbox.take(1) == ["a"]  # in the same step: the cancelled one has not run yet
    await settled()

    assert mailbox.take(1) == ["next"]
    assert mailbox.is_quiet
    await next_
    with pytest.raises(asyncio.CancelledError):
        await gone


@pytest.mark.timeout(20)
async def test_of_a_hundred_thousand_who_wait_for_room_each_may_give_up_without_looking_at_the_others() -> None:
    mailbox: Mailbox[int] = Mailbox(1)
    await mailbox.put(0)
    waiting: list[tuple[Coroutine[Any, Any, None], asyncio.Future[None]]] = []
    for number in range(1, 100_001):  # without a task for each, which would take much longer than what is tested
        producer = mailbox.put(number)
        waiting.append((producer, producer.send(None)))

    for producer, turn in reversed(waiting[1:]):  # the last one first, who has most of the others before it
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            producer.throw(asyncio.CancelledError())

    first, _ = waiting[0]
    assert mailbox.take(9) == [0]
    with pytest.raises(StopIteration):
        first.send(None)
    assert mailbox.take(9) == [1]
    assert mailbox.is_quiet


async def test_a_producer_cancelled_after_it_was_given_its_turn_hands_it_on() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("a")
    gone, next_ = put(mailbox, "gone"), put(mailbox, "next")
    await settled()

    assert mailbox.take(1) == ["a"]
    gone.cancel()
    await settled()

    assert mailbox.take(1) == ["next"]
    assert mailbox.is_quiet
    await next_
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_mailbox_is_quiet_only_when_nobody_waits_for_room_either() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    assert mailbox.is_quiet

    await mailbox.put("a")
    assert not mailbox.is_quiet

    waiting = put(mailbox, "b")
    await settled()
    assert mailbox.take(1) == ["a"]
    assert not mailbox.is_quiet  # empty, but not for long

    await waiting
    assert mailbox.take(1) == ["b"]
    assert mailbox.is_quiet


async def test_the_consumer_wakes_for_what_is_put_and_for_being_woken() -> None:
    mailbox: Mailbox[str] = Mailbox(1)

    for wake in (lambda: put(mailbox, "a"), mailbox.wake):
        consumer = asyncio.ensure_future(mailbox.filled())
        await settled()
        assert not consumer.done()
        wake()
        await consumer
        mailbox.take(1)


async def test_the_consumer_does_not_wait_where_something_is() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("a")

    async with asyncio.timeout(1):
        await mailbox.filled()


async def test_a_cancelled_consumer_can_come_back() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    consumer = asyncio.ensure_future(mailbox.filled())
    await settled()
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer

    await mailbox.put("a")

    async with asyncio.timeout(1):
        await mailbox.filled()
    assert mailbox.take(1) == ["a"]


async def test_a_closed_mailbox_gives_back_what_waits_and_lets_nobody_in() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("a")
    waiting = [put(mailbox, item) for item in "bc"]
    await settled()

    assert mailbox.close(LookupError("closed")) == ["a"]
    waiting.append(put(mailbox, "d"))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert list(map(repr, outcomes)) == ["LookupError('closed')"] * 3
    assert mailbox.is_quiet


async def test_who_was_let_in_just_before_the_mailbox_closed_is_told_so_too() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("a")
    waiting = put(mailbox, "b")
    await settled()

    mailbox.take(1)
    mailbox.close(LookupError("closed"))

    with pytest.raises(LookupError):
        await waiting
    assert mailbox.is_quiet


async def test_one_who_gives_up_while_the_mailbox_closes_is_cancelled() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    await mailbox.put("a")
    waiting = put(mailbox, "b")
    await settled()

    waiting.cancel()
    mailbox.close(LookupError("closed"))
    await settled()

    assert waiting.cancelled()
    assert mailbox.is_quiet
