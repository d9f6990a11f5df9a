"""What can name an aggregate, and the text it becomes in the name of a stream."""

from __future__ import annotations

import enum
from datetime import datetime, time
from decimal import Decimal
from typing import Final

from framework.errors import InvalidIdentity

LONGEST_STREAM: Final = 500
"""Characters in a stream's name; PostgreSQL indexes no text much longer than that."""

SEVERAL_TEXTS: Final = (bool, float, complex, Decimal, datetime, time)
"""Types of which equal values have different texts (1 and True, 1.0 and 1.00, noon here and noon there)."""

NO_TEXT: Final = (bytes, bytearray)
"""Types that only have a text for programmers."""

NO_STR: Final = (object.__str__, enum.Enum.__str__, enum.Flag.__str__)
"""The texts of those that have none: where a value lies, or what Python calls a member."""


def stream_name(asker: type, prefix: str, identity: object) -> str:
    """Return the name of the stream of the aggregate called *identity*.

    An identity is a value of any type that has a text of its own, by a `__str__`: text, a whole number, a UUID, a date,
    a value class of yours. Raises `InvalidIdentity`, which names *asker*, for every other, for the empty text, and for
    one that no stream can be called.
    """
    name = identity if type(identity) is str else _text(asker, identity)
    if not name:
        raise InvalidIdentity(asker, identity, "is empty")
    if not can_be_named(name):
        raise InvalidIdentity(asker, identity, "has characters that no stream's name can hold")
    if len(prefix) + len(name) > LONGEST_STREAM:
        raise InvalidIdentity(asker, identity, f"makes a stream's name longer than {LONGEST_STREAM} characters")
    return prefix + name


def _text(asker: type, identity: object) -> str:
    cls = type(identity)
    if identity is None:
        raise InvalidIdentity(asker, identity, "names no aggregate")
    if issubclass(cls, SEVERAL_TEXTS):
        raise InvalidIdentity(asker, identity, f"is a {cls.__name__}, of which equal values have different texts")
    # A member of an enumeration that is text or a number is its value, whatever the Python of the day prints for it.
    if isinstance(identity, str):
        return str.__str__(identity)
    if isinstance(identity, int):
        return int.__repr__(identity)
    if issubclass(cls, NO_TEXT) or cls.__str__ in NO_STR:
        remedy = "give text, a whole number, a UUID, or a type that defines __str__"
        raise InvalidIdentity(asker, identity, f"is a {cls.__name__}, which has no text of its own: {remedy}")
    return str(identity)


def can_be_named(text: str) -> bool:
    """Say whether *text* has only characters that the name of a stream can hold."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
