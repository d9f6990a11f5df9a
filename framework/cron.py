"""When something recurs: a cron expression, and the time zone it is read in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs
from cronsim import CronSim, CronSimError

from framework.errors import ConfigurationError

FIELDS: Final = 5
"""Minute, hour, day of the month, month, day of the week."""

ANY_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)


@attrs.frozen
class Cron:
    """Moments that recur: those of *expression*, by the clocks of *zone*.

    The *expression* has the five fields of cron (minute, hour, day of the month, month, day of the week), `L` for the
    last day of a month, and `MON#1` for its first Monday. *zone* is a name of the IANA database, as `Europe/Vienna` or
    `UTC`. Where clocks are put forward, what recurs at fixed times and would have come in the hour that is left out
    comes at its end; where they are put back, it comes once, the first time. What recurs every so many minutes or every
    hour takes no notice. Raises `ConfigurationError` for what is no such expression, what never comes, and a zone that
    is not known.
    """

    expression: str
    zone: str = attrs.field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        try:
            zone = ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            message = (
                f"{self.zone!r} is no time zone that is known here: give a name of the IANA database, such as"
                " 'Europe/Vienna', and install the package tzdata where the system has none"
            )
            raise ConfigurationError(message) from error
        if len(self.expression.split()) != FIELDS:
            message = (
                f"{self.expression!r} is no cron expression of {FIELDS} fields: give minute, hour, day, month, weekday"
            )
            raise ConfigurationError(message)
        try:
            next(CronSim(self.expression, ANY_MOMENT.astimezone(zone)))
        except (CronSimError, ValueError) as error:
            raise ConfigurationError(f"{self.expression!r} is no cron expression: {error}") from error
        except StopIteration:
            raise ConfigurationError(f"{self.expression!r} is a day that never comes") from None

    def __str__(self) -> str:
        return f"{self.expression} {self.zone}"

    def after(self, moment: datetime) -> datetime:
        """Return the first of them after *moment*, which is aware; in UTC."""
        for found in CronSim(self.expression, moment.astimezone(ZoneInfo(self.zone))):
            # By the clock on the wall: when that is put back, the time which comes first may be over.
            if (comes_at := found.astimezone(UTC)) > moment:
                return comes_at
        message = f"{self} does not come again after {moment.isoformat()}"
        raise ConfigurationError(message)
