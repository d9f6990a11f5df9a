"""What a batch of appends is to the database: arrays on the way there, and an answer for each on the way back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from framework.errors import DuplicateEvent, FrameworkError, ReceiptTaken, StreamDeleted, WrongExpectedVersion
from framework.store.postgres.unit import Unit
from framework.store.protocol import Appended, Expected, StreamWrite

DIGESTS: Final = 15
"""The one of the arrays that holds bytes which are no text."""


def arguments(batch: Sequence[Unit]) -> tuple[list[Any], ...]:
    """Return *batch* as the arrays that `append_events` takes, in its order."""
    columns: tuple[list[Any], ...] = tuple([] for _ in range(20))
    units, streams, expected, counts, in_write, places, ids, types, versions, datas = columns[:10]
    metadatas, correlations, causations, receipt_units, command_ids = columns[10:15]
    digests, receipt_streams, firsts, event_counts, refusals = columns[15:]
    for number, unit in enumerate(batch, 1):
        for write in unit.writes:
            units.append(number)
            streams.append(write.stream)
            expected.append(write.expected)
            counts.append(len(write.events))
            index = len(units)
            for place, event in enumerate(write.events, 1):
                in_write.append(index)
                places.append(place)
                ids.append(event.event_id)
                types.append(event.type)
                versions.append(event.type_version)
                datas.append(event.data)
                metadatas.append(event.metadata)
                correlations.append(event.correlation_id)
                causations.append(event.causation_id)
        for receipt in unit.receipts:
            receipt_units.append(number)
            command_ids.append(receipt.command_id)
            digests.append(receipt.digest)
            receipt_streams.append(receipt.stream)
            firsts.append(receipt.first_version)
            event_counts.append(receipt.event_count)
            refusals.append(receipt.refusal)
    return columns


def as_text(columns: Sequence[list[Any]]) -> tuple[list[Any], ...]:
    """Return the arrays as a connection takes them that may have codecs of its own: what they could touch is text."""
    return tuple(
        [f"\\x{digest.hex()}" for digest in column] if number == DIGESTS else [_text(value) for value in column]
        for number, column in enumerate(columns)
    )


def _text(value: object) -> object:
    match value:
        case UUID():
            return str(value)
        case bytes():
            return value.decode()  # a JSON document
        case _:
            return value


def answer(
    batch: Sequence[Unit], base: int, recorded_at: datetime, starts: Sequence[int] | None, outcomes: str | bytes | None
) -> None:
    """Tell every caller of *batch* what `append_events` said."""
    if outcomes is not None:
        _answer_each(batch, outcomes)
        return
    position, write_number = base, 0
    for unit in batch:
        places: list[Appended] = []
        for write in unit.writes:
            start = write.expected if starts is None else starts[write_number]
            write_number += 1
            position += len(write.events)
            places.append(Appended(write.stream, start + len(write.events), position, recorded_at))
        unit.succeed(tuple(places))


def _answer_each(batch: Sequence[Unit], outcomes: str | bytes) -> None:
    judged: list[dict[str, Any]] = json.loads(outcomes)
    for outcome in judged:
        unit = batch[int(outcome["unit"]) - 1]
        if outcome["became"] == "recorded":
            written: list[Any] = outcome["writes"] or []
            places = [_place(write, *place) for write, place in zip(unit.writes, written, strict=True)]
            unit.succeed(tuple(places))
        else:
            unit.fail(_refusal(outcome))


def _place(write: StreamWrite, version: int, position: int | None, recorded_at: str | None) -> Appended:
    moment = datetime.fromisoformat(recorded_at).astimezone(UTC) if recorded_at else None
    return Appended(write.stream, version, position or 0, moment)


def _refusal(outcome: dict[str, Any]) -> FrameworkError:
    match outcome["became"]:
        case "answered":
            return ReceiptTaken([UUID(each) for each in outcome["ids"]])
        case "duplicate":
            return DuplicateEvent(outcome["stream"], [UUID(each) for each in outcome["ids"]])
        case "deleted":
            return StreamDeleted(outcome["stream"])
        case _:
            return WrongExpectedVersion(outcome["stream"], Expected.describe(outcome["expected"]), outcome["actual"])
