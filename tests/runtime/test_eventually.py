"""Waiting in a test for what other tasks bring about."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from framework.testing.eventually import eventually

SOON = timedelta(milliseconds=30)


def failing(times: int) -> Iterator[int]:
    """Count the failures still to come, down to none."""
    yield from range(times, -1, -1)


async def test_a_condition_that_passes_is_called_once() -> None:
    calls: list[int] = []

    await eventually(lambda: calls.append(1), within=timedelta(0))

    assert calls == [1]


async def test_an_assertion_that_fails_is_tried_again() -> None:
    failures = failing(3)

    def condition() -> None:
        assert next(failures) == 0

    await eventually(condition)

    assert list(failures) == []


async def test_a_condition_may_be_async() -> None:
    failures = failing(3)

    async def condition() -> None:
        await asyncio.sleep(0)
        assert next(failures) == 0

    await eventually(condition)

    assert list(failures) == []


async def test_false_is_not_yet() -> None:
    failures = failing(3)

    await eventually(lambda: next(failures) == 0)

    assert list(failures) == []


async def test_what_other_tasks_do_is_seen() -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, done.set)

    await eventually(done.is_set)

    assert done.is_set()


async def test_the_last_failure_is_raised_when_the_time_is_up() -> None:
    failures = iter(range(1_000))

    def condition() -> None:
        number = next(failures)
        message = f"failure {number}"
        raise AssertionError(message)

    with pytest.raises(AssertionError, match=r"failure \d+") as caught:
        await eventually(condition, within=SOON)

    assert str(caught.value) == f"failure {next(failures) - 1}"


async def test_another_error_is_raised_at_once() -> None:
    failures = failing(1)

    def condition() -> None:
        next(failures)
        raise LookupError

    with pytest.raises(LookupError):
        await eventually(condition)

    assert list(failures) == [0]
