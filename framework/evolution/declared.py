"""What a class says of itself as an event: its name in the log, its version, and the names it had before."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, TypeVar

import attrs

from framework.errors import ConfigurationError

T = TypeVar("T")

_DECLARED: Final = "__event_type__"


@attrs.frozen
class Declared:
    """The name and version that events of a class are stored under."""

    name: str
    version: int = 1
    was: tuple[str, ...] = ()
    """Names it was stored under before, in place of its own."""


def event_type(name: str, *, version: int = 1, was: Collection[str] = ()) -> Callable[[type[T]], type[T]]:
    """Have events of the class below stored under *name*, whatever the class is called, and as of *version*.

    What the log holds under one of the names in *was* is of this type too. A class without this is stored under its
    own name as of version 1. Count *version* up with each change that payloads of before do not fit, and give an
    `Upcaster` from every version before it. Raises `ConfigurationError` for what can be no name or version.
    """
    declared = Declared(name, version, _names(was))
    for each in (name, *declared.was):
        if not each or "\0" in each or each.startswith("$"):
            raise ConfigurationError(f"{each!r} names no event type: give a text without NUL, not beginning with $")
    if name in declared.was or len(set(declared.was)) < len(declared.was):
        raise ConfigurationError(f"the event type {name!r} gives a name twice in was={declared.was!r}")
    if version < 1:
        raise ConfigurationError(f"the event type {name!r} is of version {version}: versions begin with 1")

    def declare(cls: type[T]) -> type[T]:
        setattr(cls, _DECLARED, declared)
        return cls

    return declare


def declared_by(cls: type) -> Declared:
    """Return what *cls* says of itself, and not what a class that it inherits from does."""
    found = vars(cls).get(_DECLARED)
    return found if isinstance(found, Declared) else Declared(cls.__name__)


def stored_name(cls: type) -> tuple[str, int]:
    """Return the name and version that events of *cls* are stored under."""
    declared = declared_by(cls)
    return declared.name, declared.version


def _names(was: Collection[str]) -> tuple[str, ...]:
    if isinstance(was, str):  # which is a collection of letters
        raise ConfigurationError(f"was={was!r} is one text: give the names in a tuple, was=({was!r},)")
    return tuple(was)
