"""JSON as PostgreSQL's jsonb takes and compares it."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final, NoReturn, TypeGuard

import msgspec

MOST_DIGITS: Final = 131_072
"""Before the point of a number that PostgreSQL holds."""
MOST_DECIMALS: Final = 16_383
"""Behind it."""


ESCAPE: Final = b"\\"
"""What an escape begins with: without one no fault shows at a glance. One byte, which is found faster than two."""

_ESCAPES: Final = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<nul>u0000)|(?P<half>u[dD][89a-fA-F]..)|.)", re.DOTALL
)


_SMALL: Final = re.compile(rb"(?:^|[\s:,\[])-?[0-9][0-9.]*[eE]-")
"""How a number with a negative exponent begins; seldom a text, while many a UUID has `e-` in it."""


def fault_at_a_glance(document: bytes) -> str | None:
    """Return why no database takes *document*, as far as that shows without reading it; None if it does not.

    It costs next to nothing, and spares an append that would fail alone from failing together with strangers first.
    """
    if ESCAPE in document:
        for escape in _ESCAPES.finditer(document):
            if escape["nul"]:
                return "has a NUL in its text"
            if escape["half"]:
                return "has half a surrogate pair in its text"
    return None


def fault_of(document: bytes) -> str | None:
    """Return why no database takes *document*, for a store that has none to ask; None if it would be taken."""
    if document == b"{}":
        return None
    if len(document) > MOST_DECIMALS or _has_small(document) or not _is_plain(document):
        try:
            json.loads(document.decode(), parse_int=_number, parse_float=_number, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            return f"is no JSON that can be kept: {error}"
    return fault_at_a_glance(document)


def is_same_json(one: bytes, other: bytes) -> bool:
    """Return whether two documents say the same."""
    return one == other or _is_same_value(_value(one), _value(other))


def _has_small(document: bytes) -> bool:
    """Return whether there may be a number with a negative exponent in *document*."""
    return (b"e-" in document or b"E-" in document) and _SMALL.search(document) is not None


def _is_plain(document: bytes) -> bool:
    """Return whether the fast parser takes *document*; it refuses numbers too large for a float."""
    try:
        msgspec.json.decode(document)
    except (ValueError, RecursionError):
        return False
    return True


def _number(text: str) -> Decimal:
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or number.adjusted() >= MOST_DIGITS or -exponent > MOST_DECIMALS:
        raise ValueError(f"the number {text[:40]} has too many digits")
    return number


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _value(document: bytes) -> Any:
    return json.loads(document, parse_int=Decimal, parse_float=Decimal)


def _is_same_value(one: Any, other: Any) -> bool:
    """Compare as JSON does: `true` is not 1, 1 is 1.0, and keys have no order."""
    if type(one) is not type(other):
        return False
    if _is_object(one):
        return one.keys() == other.keys() and all(_is_same_value(one[key], other[key]) for key in one)
    if _is_array(one):
        return len(one) == len(other) and all(map(_is_same_value, one, other))
    return bool(one == other)


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
