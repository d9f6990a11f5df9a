"""The clock that a test moves by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from framework.clock import Clock
from framework.testing.clock import ManualClock

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def test_it_is_a_clock() -> None:
    clock: Clock = ManualClock()

    assert clock.now().tzinfo is UTC


def test_it_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(NEW_YEAR)

    before = clock.now()
    clock.advance(timedelta(hours=1))

    assert before == NEW_YEAR
    assert clock.now() == NEW_YEAR + timedelta(hours=1)


def test_it_may_be_set_back() -> None:
    clock = ManualClock(NEW_YEAR)

    clock.advance(timedelta(seconds=-1))

    assert clock.now() == NEW_YEAR - timedelta(seconds=1)


def test_it_tells_the_time_in_utc_wherever_it_was_set() -> None:
    clock = ManualClock(datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))

    assert clock.now() == NEW_YEAR
    assert clock.now().tzinfo is UTC


def test_it_starts_at_no_naive_moment() -> None:
    with pytest.raises(ValueError, match="aware"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is refused


def test_its_ids_are_valid_and_sorted() -> None:
    clock = ManualClock()

    ids = [clock.new_id() for _ in range(1_000)]

    assert ids == sorted(set(ids))
    assert {each.version for each in ids} == {7}


def test_its_ids_are_the_same_in_every_run() -> None:
    one, other = ManualClock(), ManualClock(NEW_YEAR)

    assert [one.new_id() for _ in range(3)] == [other.new_id() for _ in range(3)]
