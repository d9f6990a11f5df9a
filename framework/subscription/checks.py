"""What handlers and projectors say of themselves, looked at when the application is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, get_args

from framework.contracts import handler_name
from framework.errors import ConfigurationError, InvalidRequest
from framework.handler import EventHandler
from framework.projector import Projector
from framework.store.subscriptions import OnChange
from framework.store.validation import check_name, check_text

MOST_PARTITIONS = 1_024
"""Slots of one subscription. Each is a task where it runs, and a row that is looked at every two seconds."""


def check_readers(handlers: Iterable[EventHandler[Any]], projectors: Iterable[Projector[Any]]) -> None:
    """Raise `ConfigurationError` for a name, slots, streams or a start that there cannot be."""
    for handler in handlers:
        _check(handler)
    for projector in projectors:
        _check(projector)


def check_partitions(name: str, partitions: object) -> None:
    """Raise `ConfigurationError` unless the subscription *name* may have so many slots, as a user gave them."""
    if isinstance(partitions, bool) or not isinstance(partitions, int) or not 1 <= partitions <= MOST_PARTITIONS:
        raise ConfigurationError(f"{name} has partitions = {partitions!r}: give it from 1 to {MOST_PARTITIONS} slots")


def check_revision(name: str, revision: object) -> None:
    """Raise `ConfigurationError` unless *revision*, which a user gave, is one that the subscription *name* may have."""
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 1:
        raise ConfigurationError(f"{name} has revision = {revision!r}: count from 1")


def check_start(name: str, start_from: Any) -> None:
    """Raise `ConfigurationError` unless *start_from*, which a user gave, is where the subscription *name* may begin."""
    match start_from:
        case "origin" | "now":
            return
        case int() if start_from >= 0 and not isinstance(start_from, bool):
            return
        case datetime() if start_from.utcoffset() is not None:
            return
        case _:
            pass
    raise ConfigurationError(
        f"{name} cannot start from {start_from!r}: give 'origin', 'now', a position, or a moment with its time zone"
    )


def _check(reader: EventHandler[Any] | Projector[Any]) -> None:
    name = handler_name(reader)
    _check_text(name, check_name, "a handler", name)
    check_partitions(name, reader.partitions)
    check_revision(name, reader.revision)
    if isinstance(reader, EventHandler):
        if reader.stream is not None:
            _check_text(name, check_name, "a stream", reader.stream)
        _check_text(name, check_text, "a prefix of streams", reader.prefix)
        if reader.stream is not None and not reader.stream.startswith(reader.prefix):
            raise ConfigurationError(
                f"{name} wants stream {reader.stream!r} and the prefix {reader.prefix!r}, which is no part of it:"
                " give one of them"
            )
        check_start(name, reader.start_from)
        _check_on_change(name, reader.on_change)


def _check_on_change(name: str, on_change: Any) -> None:
    if on_change not in get_args(OnChange):
        raise ConfigurationError(f"{name} has on_change = {on_change!r}: say 'refuse', 'keep' or 'reset'")


def _check_text(name: str, check: Callable[[str, str], None], what: str, text: Any) -> None:
    if not isinstance(text, str):
        raise ConfigurationError(f"{name}: {text!r} is no name of {what}")
    try:
        check(what, text)
    except InvalidRequest as error:
        raise ConfigurationError(f"{name}: {error}") from error
