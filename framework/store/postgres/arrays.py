"""Arrays as PostgreSQL takes them, made a column at a time.

asyncpg asks of each value in an array whether it is an array itself. For the columns of a batch, in which none is, that
takes longer than all else that is done for them.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from framework.connections import AnyConnection

EMPTY: Final = struct.Struct(">iiI").pack
"""Dimensions, a word that nobody reads, and the type of the elements."""

HEADER: Final = struct.Struct(">iiIii").pack
"""The same, how many elements there are, and the index of the first."""

LENGTH: Final = struct.Struct(">i").pack
NULL: Final = LENGTH(-1)
JSONB: Final = struct.Struct(">ib").pack
"""A length, and the version of the form of jsonb, which is 1 and is counted."""


def teach(connection: AnyConnection) -> None:
    """Have *connection* encode arrays of one dimension, with NULLs in those of documents alone, and decode none."""
    settings: Any = connection.get_settings()
    for number, name, encode in CODECS:
        settings.add_python_codec(number, name, "pg_catalog", [], "array", encode, _read, "binary")


def _integers(values: Sequence[int]) -> bytes:
    elements = array("i", [4, 0]) * len(values)
    elements[1::2] = array("i", values)
    if sys.byteorder == "little":
        elements.byteswap()
    return _array(23, len(values), elements.tobytes())


def _texts(values: Sequence[str]) -> bytes:
    return _array(25, len(values), b"".join([LENGTH(len(text)) + text for text in map(str.encode, values)]))


def _ids(values: Sequence[UUID]) -> bytes:
    length = LENGTH(16)
    return _array(2950, len(values), b"".join([length + value.int.to_bytes(16, "big") for value in values]))


def _documents(values: Sequence[bytes | None]) -> bytes:
    elements = [NULL if value is None else JSONB(len(value) + 1, 1) + value for value in values]
    return _array(3802, len(values), b"".join(elements))


def _array(element: int, count: int, body: bytes) -> bytes:
    return HEADER(1, 0, element, count, 1) + body if count else EMPTY(0, 0, element)


def _read(_: bytes) -> object:
    message = "what appends over a connection reads no arrays of these types over it"
    raise NotImplementedError(message)


CODECS: Final[Sequence[tuple[int, str, Callable[[Any], bytes]]]] = (
    (1007, "_int4", _integers),
    (1009, "_text", _texts),
    (2951, "_uuid", _ids),
    (3807, "_jsonb", _documents),
)
"""Types, which have the same number on every server, by their names, and what encodes them."""
