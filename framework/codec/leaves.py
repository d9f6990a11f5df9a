"""The types that hold nothing else, each with its way to JSON and back, and the values that are JSON already."""

from __future__ import annotations

import base64
import enum
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from types import NoneType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec

from framework.errors import FrameworkError

LONGEST_INT_BITS = 4_096
"""Beyond this an int is no number of any domain, and PostgreSQL's numeric comes to its end."""

DURATION = re.compile(r"(-?)P(\d+)DT(\d+)\.(\d{6})S")


class Refused(FrameworkError):
    """A value that would not come back equal."""


class Kind(enum.Enum):
    """What a form looks like in JSON, which is all there is to tell the members of a union apart."""

    TEXT = "text"
    NUMBER = "number"
    TRUTH = "true or false"
    NULL = "null"
    ARRAY = "array"
    OBJECT = "object"
    TAGGED = "object with a $type"
    UNKNOWN = "whatever its own code makes of it"


@attrs.frozen
class Form:
    """One type's way to JSON and back."""

    kind: Kind
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def exactly(cls: type) -> Callable[[Any], Any]:
    """Return what lets values of *cls* pass, and of no subclass."""

    def check(value: Any) -> Any:
        if type(value) is not cls:
            raise unfit(value, cls.__name__)
        return value

    return check


def is_exactly(cls: type, value: object) -> bool:
    """Say whether *value* is of *cls* and no subclass, without telling a type checker what that leaves open."""
    return type(value) is cls


def unfit(value: object, wanted: str) -> Refused:
    """Return the error for a *value* in the place of *wanted*."""
    return Refused(f"{value!r} is not {wanted}")


def _int(value: Any) -> Any:
    if type(value) is not int or value.bit_length() > LONGEST_INT_BITS:
        raise unfit(value, f"an int of at most {LONGEST_INT_BITS} bits")
    return value


def _float_in(value: Any) -> Any:
    # Every finite number, and no other, leaves nothing when taken from itself.
    if type(value) is not float or value - value != 0:
        raise unfit(value, "a finite float")
    return value + 0.0  # makes -0.0 what PostgreSQL would make of it, and leaves every other as it is


def _float_out(value: Any) -> float:
    # PostgreSQL writes 1e20 without a point: it comes back as a whole number of the same value.
    if type(value) is float or type(value) is int:
        return float(value)
    raise unfit(value, "a number")


def _uuid_in(value: Any) -> UUID | str:
    if type(value) is UUID:
        return value  # which the JSON encoder writes, faster than Python makes a text of it
    # asyncpg has a class of its own, equal to this one, in which a query answers.
    if not isinstance(value, UUID):
        raise unfit(value, "a UUID")
    return str(value)


def _uuid_out(value: Any) -> UUID:
    if type(value) is not str:
        raise unfit(value, "a UUID")
    return msgspec.convert(value, UUID)  # a third of what UUID takes, which knows more ways to write one


def _decimal_in(value: Any) -> str:
    if type(value) is not Decimal or not value.is_finite():
        raise unfit(value, "a finite Decimal")
    return str(value)


def _decimal_out(value: Any) -> Decimal:
    try:
        return Decimal(_text(value))
    except InvalidOperation:
        raise unfit(value, "a decimal number") from None


def _datetime_in(value: Any) -> str:
    offset = value.utcoffset() if type(value) is datetime else None
    if offset is None:
        raise unfit(value, "a datetime with a time zone")
    if type(value.tzinfo) is timezone and not offset.microseconds:
        text: str = value.isoformat()
        return text
    # Days and hours are added otherwise in a zone than at the offset it has just now: the zone is kept.
    # Its name stands behind the moment, as RFC 9557 has it.
    text = f"{value.isoformat()}[{getattr(value.tzinfo, 'key', None)}]"
    if type(value.tzinfo) is not ZoneInfo or not _comes_back(value, text):
        raise unfit(value, "a moment of a zone from zoneinfo, or at an offset: value.astimezone(UTC) is one")
    return text


def _comes_back(value: datetime, text: str) -> bool:
    # An hour that the clocks leave out does not, nor does a zone that was made from a file of one's own.
    try:
        return _datetime_out(text) == value
    except (Refused, OverflowError):
        return False


def _datetime_out(value: Any) -> datetime:
    if type(value) is not str:
        raise unfit(value, "a datetime")
    if value[-1:] != "]":
        return _moment(value)
    text, _, name = value[:-1].partition("[")
    moment = _moment(text)
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise unfit(name, "a zone that is known here: the package tzdata brings them all") from None
    return moment.astimezone(zone)  # by way of UTC, so that in an hour that the clocks show twice it is the right one


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise unfit(text, "a datetime with a time zone")
    return moment


def _date_in(value: Any) -> str:
    if type(value) is not date:
        raise unfit(value, "a date")
    return value.isoformat()


def _time_in(value: Any) -> str:
    if type(value) is not time or value.tzinfo is not None:
        raise unfit(value, "a time without a time zone")
    return value.isoformat()


def _duration_in(value: Any) -> str:
    if type(value) is not timedelta:
        raise unfit(value, "a timedelta")
    size = abs(value)
    return f"{'-' if value < timedelta(0) else ''}P{size.days}DT{size.seconds}.{size.microseconds:06}S"


def _duration_out(value: Any) -> timedelta:
    match = DURATION.fullmatch(_text(value))
    if match is None:
        raise unfit(value, "a duration such as P1DT2.500000S")
    sign, days, seconds, microseconds = match.groups()
    size = timedelta(days=int(days), seconds=int(seconds), microseconds=int(microseconds))
    return -size if sign else size


def _bytes_in(value: Any) -> str:
    if type(value) is not bytes:
        raise unfit(value, "bytes")
    return base64.b64encode(value).decode()


def _null(value: Any) -> None:
    if value is not None:
        raise unfit(value, "None")


_text = exactly(str)

LEAVES: Mapping[Any, Form] = {
    str: Form(Kind.TEXT, _text, _text),
    int: Form(Kind.NUMBER, _int, exactly(int)),
    float: Form(Kind.NUMBER, _float_in, _float_out),
    bool: Form(Kind.TRUTH, exactly(bool), exactly(bool)),
    NoneType: Form(Kind.NULL, _null, _null),
    UUID: Form(Kind.TEXT, _uuid_in, _uuid_out),
    Decimal: Form(Kind.TEXT, _decimal_in, _decimal_out),
    datetime: Form(Kind.TEXT, _datetime_in, _datetime_out),
    date: Form(Kind.TEXT, _date_in, lambda value: date.fromisoformat(_text(value))),
    time: Form(Kind.TEXT, _time_in, lambda value: time.fromisoformat(_text(value))),
    timedelta: Form(Kind.TEXT, _duration_in, _duration_out),
    bytes: Form(Kind.TEXT, _bytes_in, lambda value: base64.b64decode(_text(value), validate=True)),
}
"""The types that hold nothing else. A value of a subclass is refused: it would come back as the parent."""


LARGEST_PLAIN_FLOAT = 2.0**53
"""Up to here a float that PostgreSQL writes out in full, and that is read back as an int, is equal to that int."""


def plain(value: Any, path: str) -> Any:
    """Return *value* if JSON gives it back equal; raises `Refused`."""
    inner: Any = value
    match value:
        case None | bool():
            return value
        case str() if type(value) is str:
            return value
        case int() if type(value) is int:
            return _int(value)
        case float() if abs(value) <= LARGEST_PLAIN_FLOAT:
            return value
        case Mapping():
            if not all(type(key) is str for key in inner):
                raise Refused(f"{path}: keys are text")
            return {key: plain(each, f"{path}[{key!r}]") for key, each in inner.items()}
        case list():
            return [plain(each, f"{path}[{number}]") for number, each in enumerate(inner)]
        case _:
            raise Refused(f"{path}: {value!r} is no JSON value that comes back equal")
