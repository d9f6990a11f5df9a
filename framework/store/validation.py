"""What may be asked of a store: one set of checks, so that every store refuses the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from framework.errors import AppendRefused, DuplicateEvent, InvalidRequest
from framework.store.documents import ESCAPE, fault_at_a_glance
from framework.store.protocol import Expected, NewEvent, Receipt, Snapshot, StreamWrite

LONGEST_NAME: Final = 1_000
"""Bytes of UTF-8 in the name of a stream, a type, a process: two such names fit into one entry of an index."""

HIGHEST: Final = 2**62
"""The last version and position there can be: a bigint with room to count on."""

LARGEST_APPEND: Final = 2**28 - 1
"""Bytes of all its events: as many as one document may have. Four times as many are no message that a server takes."""

LOWEST_EXPECTED: Final = int(min(Expected))
HIGHEST_TYPE_VERSION: Final = 2**31 - 1


def check_append(writes: Sequence[StreamWrite], receipts: Sequence[Receipt]) -> tuple[int, int]:
    """Return how many events *writes* have, and of how many bytes.

    Raises `InvalidRequest` for what no append can be, `AppendRefused` for an event that no database can hold, and
    `DuplicateEvent` where an id stands twice.
    """
    count = size = 0
    # Every append of every caller comes through here: what is plainly right is told from the rest without a call.
    for write in writes:
        stream, expected, events = write.stream, write.expected, write.events
        if not (0 < len(stream) <= LONGEST_NAME and stream.isascii() and "\0" not in stream):
            check_name("a stream", stream)
        if not 0 <= expected <= HIGHEST:
            check_expected(stream, expected)
        count += len(events)
        for event in events:
            data, metadata = event.data, event.metadata
            size += len(data) + len(metadata)
            if not _is_type(event.type, event.type_version):
                raise InvalidRequest(f"{stream}: {event.type!r} version {event.type_version} is no event type")
            if metadata[:1] != b"{" or ESCAPE in data or ESCAPE in metadata:
                _check_event(stream, event)
    if len(writes) > 1 or size > LARGEST_APPEND:
        _check_whole(writes, size)
    if count > 1:
        _check_ids(writes, count)
    if receipts:
        _check_receipts(receipts)
    return count, size


def check_name(what: str, name: str) -> None:
    """Raise `InvalidRequest` unless *name* can be the name of *what*."""
    if not name:
        raise InvalidRequest(f"{what} needs a name: '' is none")
    check_text(what, name)
    if len(name) * 4 > LONGEST_NAME and len(name.encode()) > LONGEST_NAME:
        raise InvalidRequest(f"{what} cannot be called {name[:40]!r}…: its name is longer than {LONGEST_NAME} bytes")


def check_text(what: str, text: str) -> None:
    """Raise `InvalidRequest` unless a database can hold *text*, which belongs to *what*."""
    if "\0" in text or not (text.isascii() or _is_unicode(text)):
        raise InvalidRequest(f"{what}: {text!r} has characters that no database can hold")


def check_expected(stream: str, expected: int) -> None:
    """Raise `InvalidRequest` unless a writer of *stream* may believe *expected*."""
    if not LOWEST_EXPECTED <= expected <= HIGHEST:
        raise InvalidRequest(f"{stream}: {expected} is neither a version nor one of Expected")


def check_limit(limit: int) -> None:
    """Raise `InvalidRequest` unless a page may have *limit* entries."""
    if not 1 <= limit <= HIGHEST:
        raise InvalidRequest(f"a page of at most {limit} is none: ask for 1 or more")


def check_filter(types: Collection[str] | None, prefix: str) -> None:
    """Raise `InvalidRequest` unless the log may be filtered by *types* and *prefix*."""
    for each in types or ():
        check_text("an event type", each)
    check_text("a prefix of streams", prefix)


def check_moment(moment: datetime) -> None:
    """Raise `InvalidRequest` unless *moment* is aware of its time zone."""
    if moment.utcoffset() is None:
        raise InvalidRequest(f"{moment!r} is no moment: give it a time zone")


def check_snapshot(snapshot: Snapshot) -> None:
    """Raise `InvalidRequest` unless there can be such a *snapshot*."""
    check_name("a stream", snapshot.stream)
    check_moment(snapshot.taken_at)
    if not (1 <= snapshot.version <= HIGHEST and _is_type(snapshot.state_type, snapshot.state_version)):
        raise InvalidRequest(
            f"{snapshot.stream}: there is no {snapshot.state_type!r} of shape {snapshot.state_version}"
            f" at version {snapshot.version}"
        )


def within(number: int) -> int:
    """Return *number* as the nearest version or position there can be, or 0."""
    return min(max(number, 0), HIGHEST)


@lru_cache(maxsize=4_096)
def _is_type(name: str, version: int) -> bool:
    return (
        len(name) > 0
        and "\0" not in name
        and _is_unicode(name)
        and len(name.encode()) <= LONGEST_NAME
        and 0 <= version <= HIGHEST_TYPE_VERSION
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _check_distinct(what: str, values: Sequence[str]) -> None:
    if len(set(values)) < len(values):
        raise InvalidRequest(f"an append names each once, but these {what} came: {', '.join(values)}")


def _check_whole(writes: Sequence[StreamWrite], size: int) -> None:
    streams = [write.stream for write in writes]
    _check_distinct("streams", streams)
    if size > LARGEST_APPEND:
        message = f"{', '.join(streams)}: an append holds {LARGEST_APPEND} bytes of events, and these are {size}"
        raise AppendRefused(message)


def _check_ids(writes: Sequence[StreamWrite], count: int) -> None:
    # By the ids' integers: a UUID's own hash is Python.
    numbers = [event.event_id.int for write in writes for event in write.events]
    if len(set(numbers)) < count:
        times = Counter(numbers)
        for write in writes:
            if twice := {event.event_id for event in write.events if times[event.event_id.int] > 1}:
                raise DuplicateEvent(write.stream, list(twice))


def _check_receipts(receipts: Sequence[Receipt]) -> None:
    _check_distinct("command ids", [str(receipt.command_id) for receipt in receipts])
    for receipt in receipts:
        check_name("a stream", receipt.stream)
        if not (0 <= receipt.first_version <= HIGHEST and 0 <= receipt.event_count <= HIGHEST_TYPE_VERSION):
            raise InvalidRequest(f"{receipt.stream}: {receipt!r} speaks of events that cannot be")
        if receipt.refusal is not None and (fault := fault_at_a_glance(receipt.refusal)):
            raise AppendRefused(f"{receipt.stream}: the refusal of command {receipt.command_id} {fault}")


def _check_event(stream: str, event: NewEvent) -> None:
    if not event.metadata.lstrip().startswith(b"{"):
        raise AppendRefused(f"{stream}: the metadata of event {event.event_id} ({event.type}) is no JSON object")
    if fault := fault_at_a_glance(event.data) or fault_at_a_glance(event.metadata):
        raise AppendRefused(f"{stream}: event {event.event_id} ({event.type}) {fault}")
