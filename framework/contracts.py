"""Reads the message types that a class declares in its generic base."""

from __future__ import annotations

import inspect
import sys
from abc import ABC
from collections.abc import Iterator
from datetime import timedelta
from types import UnionType
from typing import Annotated, Any, ForwardRef, TypeVar, Union, get_args, get_origin

import attrs

from framework.errors import InvalidContract

T = TypeVar("T")


def message_types(cls: type, base: type, index: int) -> tuple[type, ...]:
    """Return the message types that *cls* gives for the type parameter number *index* of *base*, in their order.

    Looks through unions, aliases and `Annotated`, and through generic bases of the user's own in between. Raises
    `InvalidContract` where nothing is declared, or something that cannot be a message: each is a frozen attrs class.
    """
    declared = _arguments(cls, base)
    if declared is None or index >= len(declared):
        raise InvalidContract(f"{cls.__name__} does not say which messages it takes: {_remedy(cls, base)}")
    found = tuple(dict.fromkeys(declared[index]))
    for each in found:
        if isinstance(each, TypeVar) or each in (Any, object):
            raise InvalidContract(f"{cls.__name__} leaves open which messages it takes: {_remedy(cls, base)}")
        check_message(each, cls)
    return found


def check_message(message: object, cls: type) -> None:
    """Raise `InvalidContract` if *message*, which is given to *cls*, is no frozen attrs class."""
    if not isinstance(message, type) or not attrs.has(message):
        raise InvalidContract(
            f"{cls.__name__} declares {message!r} as a message: a message is a frozen attrs class, or a union of such"
        )
    if not attrs.inspect(message).is_frozen:
        raise InvalidContract(f"{message.__name__}, a message of {cls.__name__}, can change: make it @attrs.frozen")


def handler_name(handler: object) -> str:
    """Return the name that the progress of *handler*, an instance, its class, or a name already, is stored under."""
    if isinstance(handler, str):
        return handler
    cls = handler if isinstance(handler, type) else type(handler)
    name: str = getattr(handler, "name", "") or cls.__name__
    return name


def takes_many(cls: type, base: type, one: str, many: str) -> bool:
    """Return whether *cls* is given many events at once, by its method *many*, and not each by itself, by *one*.

    Raises `InvalidContract` where it defines both, or neither and is not a generic or abstract class of the user's own.
    """
    has_one, has_many = (getattr(cls, name) is not getattr(base, name) for name in (one, many))
    if has_one and has_many:
        raise InvalidContract(f"{cls.__name__} defines both {one} and {many}: keep one of them")
    is_complete = not getattr(cls, "__parameters__", ()) and ABC not in cls.__bases__
    if not has_one and not has_many and is_complete:
        raise InvalidContract(f"{cls.__name__} defines neither {one} nor {many}: write one of them")
    return has_many


def check_batch(cls: type, size: int | None, within: timedelta) -> None:
    """Raise `InvalidContract` for batches of *size* events, *within* a time, that there cannot be."""
    if size is not None and size < 1:
        raise InvalidContract(f"{cls.__name__}.batch_size is {size}: give 1 or more, or None for Defaults.batch")
    if within < timedelta(0):
        raise InvalidContract(
            f"{cls.__name__}.batch_within is {within.total_seconds():g} s: give 0 not to wait for more"
        )


def initial_state(cls: type[T]) -> T:
    """Return the state of *cls* before its first event; raises `InvalidContract` if there is none."""
    if not _is_frozen(cls):
        raise InvalidContract(f"{cls.__name__} must be a frozen attrs class: put @attrs.frozen above it")
    if open_ := sorted(getattr(cls, "__abstractmethods__", ())):
        raise InvalidContract(f"{cls.__name__} does not define {' and '.join(open_)}")
    if is_async := [name for name in ("execute", "apply", "handle") if awaits(getattr(cls, name, None))]:
        raise InvalidContract(f"{cls.__name__}.{is_async[0]} is async: it decides without waiting, so write 'def'")
    try:
        return cls()
    except TypeError as error:
        message = f"{cls.__name__} must have a default for every field, its state before the first event: {error}"
        raise InvalidContract(message) from error


def awaits(method: object) -> bool:
    """Say whether *method* would have to be awaited for what it decides."""
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


def _is_frozen(cls: type) -> bool:
    return attrs.has(cls) and attrs.inspect(cls).is_frozen


def _remedy(cls: type, base: type) -> str:
    return f"write 'class {cls.__name__}({base.__name__}[…])' with its messages in the brackets"


def _arguments(cls: type, base: type) -> list[list[Any]] | None:
    """Return the members of each type argument of *base* as *cls* inherits it; None if it does not say."""
    for parent in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin = get_origin(parent) or parent
        given = [list(_members(each, cls)) for each in get_args(parent)]
        if origin is base:
            return given or None
        if not isinstance(origin, type) or not issubclass(origin, base):
            continue
        inherited = _arguments(origin, base)
        if inherited is None:
            continue
        # What the parent left open is what this class puts in its brackets.
        bound = dict(zip(getattr(origin, "__parameters__", ()), given, strict=False))
        return [[each for one in members for each in _bound(one, bound)] for members in inherited]
    return None


def _bound(member: Any, bound: dict[Any, list[Any]]) -> list[Any]:
    return bound.get(member, [member]) if isinstance(member, TypeVar) else [member]


def _members(declared: Any, cls: type) -> Iterator[Any]:
    origin = get_origin(declared)
    if origin is Union or origin is UnionType:
        for each in get_args(declared):
            yield from _members(each, cls)
    elif origin is Annotated:
        yield from _members(get_args(declared)[0], cls)
    elif isinstance(declared, str | ForwardRef):
        yield from _members(_resolved(declared, cls), cls)
    elif hasattr(declared, "__value__"):  # the type statement's alias, and typing_extensions' in Python 3.11
        yield from _members(declared.__value__, cls)
    else:
        yield declared


def _resolved(name: str | ForwardRef, cls: type) -> Any:
    expression = name if isinstance(name, str) else name.__forward_arg__
    try:
        # The class's own source text, evaluated where it was written.
        return eval(expression, vars(sys.modules[cls.__module__]))  # noqa: S307
    except (NameError, AttributeError) as error:
        raise InvalidContract(
            f"{cls.__name__} declares {expression!r}, which is not defined where it is written: {error}"
        ) from error
