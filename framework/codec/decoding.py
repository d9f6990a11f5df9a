"""How a message is made of a document: the JSON parser makes the values it knows, and calls nobody for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, Final, NotRequired, TypedDict, Union, cast
from uuid import UUID

import attrs
import cattrs
import msgspec

from framework.codec.annotations import field_types, is_union, members_of, unwrapped

PARSED: Final[dict[Any, Any]] = {
    str: str,
    int: int,
    bool: bool,
    float: float,
    UUID: UUID,
    datetime: Annotated[datetime, msgspec.Meta(tz=True)],
    NoneType: None,
}
"""What the parser makes as the form of that type does, where it makes it at all, and how it is asked to.

It is not asked for a Decimal, say, since it would take one from a number, in which digits may have been lost.
"""


def document_hook(
    cls: type, converter: cattrs.Converter, is_registered: Callable[[Any], bool]
) -> Callable[[bytes], Any]:
    """Return what makes a value of *cls* of its document, in half the time that the hooks of *converter* take alone.

    What it returns is what those would have returned. Where it raises, they may know better: of a moment that names its
    zone, say. *is_registered* says whether the user has a form of their own for a type.
    """
    fields = attrs.fields(cls)
    if any(field.alias != field.name for field in fields):
        structure = converter.get_structure_hook(cls)
        return lambda document: structure(msgspec.json.decode(document), cls)
    types = field_types(cls)
    asked: dict[str, Any] = {}
    hooks: list[tuple[str, Callable[[Any, Any], Any], Any]] = []
    for field in fields:
        declared = types[field.name]
        parsed = _parsed(declared, is_registered)
        if parsed is None:
            hooks.append((field.name, converter.get_structure_hook(declared), declared))
            parsed = Any
        asked[field.name] = parsed if field.default is attrs.NOTHING else NotRequired[parsed]
    # As keys of a dictionary, and not as the class itself, which the parser would fill without a call of __init__.
    shape: Any = cast("Any", TypedDict)(cls.__name__, asked)
    parse: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(shape).decode
    if not hooks:
        return lambda document: cls(**parse(document))

    def decode(document: bytes) -> Any:
        values = parse(document)
        for name, hook, declared in hooks:
            if name in values:
                values[name] = hook(values[name], declared)
        return cls(**values)

    return decode


def _parsed(declared: Any, is_registered: Callable[[Any], bool]) -> Any:
    """Return how the parser is asked for a value of *declared*; None where it is not."""
    members = members_of(declared) if is_union(declared) else [unwrapped(declared)]
    if any(member not in PARSED or is_registered(member) for member in members):
        return None
    return Union[tuple(PARSED[member] for member in members)]  # noqa: UP007 - as many as there are
