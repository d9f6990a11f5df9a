"""A refusal as it is stored: by name and fields, so that a repeat on any node is refused alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from framework.errors import CommandRejected


def encode_refusal(error: CommandRejected) -> bytes:
    """Return *error* as JSON: its class's name, its message, and those arguments and attributes that JSON can hold."""
    document = {
        "type": _name(type(error)),
        "message": _text(str(error)),
        "args": list(error.args) if all(map(_is_plain, error.args)) else [_text(str(error))],
        "fields": {name: value for name, value in vars(error).items() if _is_plain(value)},
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
            error = cls.__new__(cls, *read["args"])
            vars(error).update(read["fields"])
            return error
    return CommandRejected(read["message"])


def _subclasses(cls: type[CommandRejected]) -> Iterator[type[CommandRejected]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _subclasses(child)


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_plain(value: object) -> bool:
    """Say whether JSON gives *value* back equal, and PostgreSQL takes it."""
    match value:
        case None | bool():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case str():
            return value == _text(value)
        case _:
            return False


def _text(value: str) -> str:
    """Return *value* without what a jsonb column refuses: NUL and lone surrogates."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
