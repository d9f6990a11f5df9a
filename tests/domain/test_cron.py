"""When something recurs, by clocks that are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import accumulate, repeat
from zoneinfo import ZoneInfo

import pytest

from framework import Cron
from framework.errors import ConfigurationError

VIENNA = ZoneInfo("Europe/Vienna")


def times(expression: str, begin: datetime, count: int, zone: str = "Europe/Vienna") -> list[str]:
    cron = Cron(expression, zone=zone)
    moments = list(accumulate(repeat(begin, count + 1), lambda moment, _: cron.after(moment)))[1:]
    return [moment.astimezone(ZoneInfo(zone)).isoformat(" ", "minutes") for moment in moments]


def test_it_comes_again_after_a_moment_and_not_at_it() -> None:
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)

    assert Cron("0 12 * * *", zone="UTC").after(noon) == datetime(2026, 5, 2, 12, tzinfo=UTC)
    assert Cron("0 12 * * *", zone="UTC").after(noon.replace(second=1)) == datetime(2026, 5, 2, 12, tzinfo=UTC)


def test_the_clocks_are_those_of_the_zone() -> None:
    assert times("0 3 * * *", datetime(2026, 1, 31, 22, tzinfo=UTC), 2) == [
        "2026-02-01 03:00+01:00",
        "2026-02-02 03:00+01:00",
    ]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("0 0 L * *", "2026-02-28 00:00+00:00"),
        ("30 6 * * MON#1", "2026-02-02 06:30+00:00"),
        ("0 9-17/4 * * 1-5", "2026-02-02 09:00+00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00+00:00"),
    ],
)
def test_days_are_told_in_all_the_ways_of_cron(expression: str, found: str) -> None:
    assert times(expression, datetime(2026, 2, 1, tzinfo=UTC), 1, "UTC") == [found]


def test_what_would_come_in_the_hour_that_is_left_out_comes_at_its_end() -> None:
    assert times("30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=UTC), 2) == [
        "2026-03-29 03:00+02:00",
        "2026-03-30 02:30+02:00",
    ]


def test_what_would_come_twice_in_that_hour_comes_once() -> None:
    assert times("0,30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=UTC), 2) == [
        "2026-03-29 03:00+02:00",
        "2026-03-30 02:00+02:00",
    ]


def test_in_the_hour_that_comes_twice_it_comes_once_the_first_time() -> None:
    assert times("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=UTC), 2) == [
        "2026-10-25 02:30+02:00",
        "2026-10-26 02:30+01:00",
    ]


def test_what_begins_in_the_second_of_these_hours_does_not_come_in_the_first() -> None:
    second = datetime(2026, 10, 25, 2, 10, tzinfo=VIENNA, fold=1)

    assert times("30 2 * * *", second, 1) == ["2026-10-26 02:30+01:00"]


def test_what_comes_all_the_time_takes_no_notice() -> None:
    assert times("*/30 * * * *", datetime(2026, 3, 29, 0, 30, tzinfo=UTC), 2) == [
        "2026-03-29 03:00+02:00",
        "2026-03-29 03:30+02:00",
    ]
    assert times("0 * * * *", datetime(2026, 10, 24, 23, 30, tzinfo=UTC), 3) == [
        "2026-10-25 02:00+02:00",
        "2026-10-25 02:00+01:00",
        "2026-10-25 03:00+01:00",
    ]


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("", "5 fields"),
        ("* * * *", "5 fields"),
        ("0 * * * * *", "5 fields"),
        ("60 * * * *", "Bad minute"),
        ("0 0 * * MON#9", "Bad day-of-week"),
        (f"{'9' * 5_000} * * * *", "no cron expression"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("* * */20 * 1L", "never comes"),
    ],
)
def test_what_cannot_be_meant_is_refused(expression: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        Cron(expression, zone="UTC")


@pytest.mark.parametrize("zone", ["", "Vienna", "../etc/passwd", "/etc/localtime", "Europe"])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(ConfigurationError, match="no time zone that is known here"):
        Cron("0 3 * * *", zone=zone)
