"""A refusal as it is stored: by name and fields, so that a repeat on any node is refused alike."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any

import attrs
import msgspec

from framework.codec.leaves import LEAVES, Refused
from framework.errors import CommandRejected

TAGGED = {cls.__name__: form for cls, form in LEAVES.items() if cls not in (NoneType, bool, int, str)}
"""The types that JSON has no value for, by the name they are stored under beside it."""


def encode_refusal(error: CommandRejected) -> bytes:
    """Return *error* as JSON: its class's name, its message, and those arguments and attributes that can be held.

    What can be is what the codec holds of types that hold nothing else: text, numbers, Decimal, UUID, datetime and
    so on. If not all arguments can, the message stands for them.
    """
    arguments = [packed for each in error.args if (packed := _packed(each)) is not None]
    fields = {name: packed for name, value in _fields(error) if (packed := _packed(value)) is not None}
    document = {
        "type": _name(type(error)),
        "message": _text(str(error)),
        "args": arguments if len(arguments) == len(error.args) else [_packed(_text(str(error)))],
        "fields": fields,
    }
    return msgspec.json.encode(document)


def decode_refusal(document: bytes) -> CommandRejected:
    """Return the refusal that *document* describes.

    Its class is looked for among the subclasses of `CommandRejected` that are loaded; nothing is imported, and no
    constructor of theirs is called. A class that is gone leaves a plain `CommandRejected` with the same message.
    """
    read: dict[str, Any] = msgspec.json.decode(document)
    for cls in _subclasses(CommandRejected):
        if _name(cls) == read["type"]:
            error = CommandRejected.__new__(cls, *map(_unpacked, read["args"]))
            for name, value in read["fields"].items():
                object.__setattr__(error, name, _unpacked(value))  # also where the class is frozen
            return error
    return CommandRejected(read["message"])


def _subclasses(cls: type[CommandRejected]) -> Iterator[type[CommandRejected]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _subclasses(child)


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _fields(error: CommandRejected) -> Iterator[tuple[str, Any]]:
    yield from vars(error).items()
    cls: Any = type(error)
    for field in attrs.fields(cls) if attrs.has(cls) else ():
        if field.name not in vars(error):  # a slot
            yield field.name, getattr(error, field.name)


def _packed(value: Any) -> list[Any] | None:
    """Return *value* with the name of its type, if it needs one; None if it cannot be held."""
    match value:
        case None | bool():
            return [value]
        case str():
            return [value] if value == _text(value) else None
        case int():
            return [value] if -(2**63) <= value < 2**63 else None
        case _:
            name = type(value).__name__
            try:
                return [TAGGED[name].encode(value), name]
            except (KeyError, Refused):
                return None


def _unpacked(packed: list[Any]) -> Any:
    value, *name = packed
    return TAGGED[name[0]].decode(value) if name else value


def _text(value: str) -> str:
    """Return *value* without what a jsonb column refuses: NUL and lone surrogates."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
