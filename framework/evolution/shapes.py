"""The shapes of events, as text that can be kept beside the code and compared with it later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, Final, TypedDict, get_args, get_origin

import attrs

from framework.codec.annotations import (
    MAPPINGS,
    SETS,
    field_types,
    is_array,
    is_attrs,
    is_enum,
    is_literal,
    is_mapping,
    is_union,
    members_of,
    unwrapped,
)
from framework.evolution.declared import declared_by

PLAIN: Final = (str, int, float, NoneType)
"""What is the same when it is read back from a file."""


class FieldShape(TypedDict):
    """A field: its type in words, the same for what is the same in JSON, and whether it must be there."""

    type: str
    required: bool


class SnapshotShape(TypedDict):
    """A snapshot, or what else has a version and fields."""

    version: int
    fields: dict[str, FieldShape]


class EventShape(SnapshotShape):
    """An event, with the names it had before."""

    was: list[str]


class ValueShape(TypedDict, total=False):
    """What is in an event and has a shape of its own: fields, or the values of an enum."""

    fields: dict[str, FieldShape]
    values: list[Any]


class Document(TypedDict):
    """What is kept, by the names that things are stored under."""

    events: dict[str, EventShape]
    snapshots: dict[str, SnapshotShape]
    values: dict[str, ValueShape]


def shapes(events: Iterable[type], snapshots: Mapping[str, tuple[type, int]]) -> Document:
    """Return the shapes of *events*, of *snapshots* by name with the class and its version, and of all in them."""
    values: dict[str, ValueShape] = {}
    described: Document = {"events": {}, "snapshots": {}, "values": values}
    for cls in events:
        declared = declared_by(cls)
        described["events"][declared.name] = {
            "version": declared.version,
            "was": list(declared.was),
            "fields": _fields(cls, values),
        }
    for name, (cls, version) in snapshots.items():
        described["snapshots"][name] = {"version": version, "fields": _fields(cls, values)}
    return described


def _fields(declared: Any, values: dict[str, ValueShape]) -> dict[str, FieldShape]:
    cls = get_origin(declared) or declared
    types = field_types(declared)
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
    return {
        field.name: {"type": _text(types[field.name], values), "required": field.default is attrs.NOTHING}
        for field in fields
    }


def _text(declared: Any, values: dict[str, ValueShape]) -> str:
    """Return *declared* in words, the same for what is the same in JSON; what has a shape of its own is in *values*."""
    declared = unwrapped(declared)
    if declared in (None, NoneType):
        return "null"
    if is_union(declared):
        return " | ".join(sorted(_text(each, values) for each in members_of(declared)))
    if is_literal(declared):
        return f"one of {sorted(get_args(declared), key=repr)!r}"
    if is_mapping(declared) or get_origin(declared) in MAPPINGS:
        return f"map[{_inner(declared, values)}]"
    if is_array(declared):
        return _array(declared, values)
    name = str(getattr(declared, "__name__", declared))
    if is_attrs(declared) and get_origin(declared) is not None:
        name = f"{name}[{_inner(declared, values)}]"
    if (is_attrs(declared) or is_enum(declared)) and name not in values:
        values[name] = {}  # before what is in it, which may be one of its own kind
        if is_enum(declared):
            plain = (each.value if isinstance(each.value, PLAIN) else repr(each.value) for each in declared)
            values[name] = {"values": list(plain)}
        else:
            values[name] = {"fields": _fields(declared, values)}
    return name


def _array(declared: Any, values: dict[str, ValueShape]) -> str:
    kind, members = get_origin(declared) or declared, get_args(declared)
    if kind is tuple and members[1:] != (...,):
        return f"tuple[{_inner(declared, values)}]"
    return f"{'set' if kind in SETS else 'list'}[{_text(members[0], values) if members else 'any'}]"


def _inner(declared: Any, values: dict[str, ValueShape]) -> str:
    return ", ".join(_text(each, values) for each in get_args(declared))
