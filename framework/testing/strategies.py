"""Hypothesis strategies for messages and states: whatever their types allow, and the codec can write and read back."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeVar, get_args, get_origin
from uuid import UUID

import attrs
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from framework.aggregate import Aggregate
from framework.codec.annotations import (
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
from framework.codec.leaves import LEAVES, Refused
from framework.contracts import message_types

C = TypeVar("C")
E = TypeVar("E")
T = TypeVar("T")

MOST: Final = 4
"""What a tuple, a list, a set or a mapping holds at most."""

DEEPEST: Final = 3
"""How often a class that holds itself does so at most."""


def events_of(aggregate: type[Aggregate[Any, E]], **fields: SearchStrategy[Any]) -> SearchStrategy[E]:
    """Return a strategy for the events that *aggregate* declares; a field named in *fields* is drawn from there."""
    return _one_of(message_types(aggregate, Aggregate, 1), fields)


def commands_of(aggregate: type[Aggregate[C, Any]], **fields: SearchStrategy[Any]) -> SearchStrategy[C]:
    """Return a strategy for the commands that *aggregate* declares; a field named in *fields* is drawn from there."""
    return _one_of(message_types(aggregate, Aggregate, 0), fields)


def from_type(cls: type[T], **fields: SearchStrategy[Any]) -> SearchStrategy[T]:
    """Return a strategy for values of *cls*, an attrs class or whatever else a field may hold.

    Fields are drawn from *fields* where they are named there, and else by their types: floats and decimals are finite,
    moments are aware, texts without NUL. A value that the class's own validators refuse with a `ValueError` is drawn
    again; where most are, say which fit in *fields*. A class that is registered with a codec is drawn as hypothesis
    knows it: see its `register_type_strategy`.
    """
    return _strategy(cls, fields, ())


def _one_of(messages: tuple[type[Any], ...], fields: Mapping[str, SearchStrategy[Any]]) -> SearchStrategy[Any]:
    if unknown := fields.keys() - {each.name for message in messages for each in attrs.fields(message)}:
        names = ", ".join(message.__name__ for message in messages)
        message = f"none of {names} has a field {', '.join(sorted(unknown))}"
        raise TypeError(message)
    return st.one_of(
        [
            from_type(each, **{name: drawn for name, drawn in fields.items() if name in attrs.fields_dict(each)})
            for each in messages
        ]
    )


def _comes_back(value: object) -> bool:
    """Say whether a leaf is written, and not refused."""
    try:
        LEAVES[type(value)].encode(value)
    except Refused:
        return False
    return True


_LEAVES: Final[Mapping[Any, SearchStrategy[Any]]] = {
    str: st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    types.NoneType: st.none(),
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    # A zone knows no moments at the ends of time.
    datetime: st.datetimes(timezones=st.just(UTC) | st.timezones(), allow_imaginary=False).filter(_comes_back),
    date: st.dates(),
    time: st.times(),
    timedelta: st.timedeltas(),
    bytes: st.binary(),
}


def _strategy(  # noqa: PLR0911 - one line for each sort of type
    declared: Any, fields: Mapping[str, SearchStrategy[Any]], within: tuple[Any, ...]
) -> SearchStrategy[Any]:
    """Return the strategy for *declared*, as a field of the classes it lies *within*."""
    declared = unwrapped(declared)
    inner = partial(_strategy, fields={}, within=within)
    if (leaf := _LEAVES.get(declared)) is not None:
        return leaf
    if is_attrs(declared):
        return _built(declared, fields, within)
    if is_enum(declared):
        return st.sampled_from(declared)
    if is_literal(declared):
        return st.sampled_from(get_args(declared))
    if is_array(declared):
        return _array(declared, inner)
    if is_mapping(declared):
        key, value = map(inner, get_args(declared))
        return st.dictionaries(key, value, max_size=_most(value))
    if is_union(declared):
        return st.one_of([inner(member) for member in members_of(declared)])
    return st.from_type(declared)


def _built(declared: Any, fields: Mapping[str, SearchStrategy[Any]], within: tuple[Any, ...]) -> SearchStrategy[Any]:
    if within.count(declared) == DEEPEST:
        return st.nothing()  # so what holds it is None there, empty, or of another class
    cls = get_origin(declared) or declared
    of_fields = field_types(declared)
    if unknown := fields.keys() - of_fields.keys():
        message = f"{cls.__name__} has no field {', '.join(sorted(unknown))}"
        raise TypeError(message)
    drawn = {
        field.alias: fields[field.name]
        if field.name in fields
        else _strategy(of_fields[field.name], {}, (*within, declared))
        for field in attrs.fields(cls)
    }
    return st.fixed_dictionaries(drawn).map(partial(_made, cls))


def _made(cls: Any, values: Mapping[str, Any]) -> Any:
    try:
        return cls(**values)
    except ValueError:
        reject()


def _array(declared: Any, inner: Callable[[Any], SearchStrategy[Any]]) -> SearchStrategy[Any]:
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        return st.tuples(*map(inner, arguments))
    element = inner(arguments[0])
    return st.lists(element, max_size=_most(element)).map(_sort(origin))


def _sort(origin: Any) -> Callable[[Any], Any]:
    """Return what makes of several values what a field declared as *origin* holds."""
    return {list: list, set: set, frozenset: frozenset, AbstractSet: frozenset}.get(origin) or tuple


def _most(element: SearchStrategy[Any]) -> int:
    return 0 if element.is_empty else MOST
