"""What an annotation says once aliases, `Annotated`, `NewType` and type variables are seen through."""

from __future__ import annotations

import enum
from collections.abc import Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from types import UnionType
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from framework.errors import FrameworkError

MAPPINGS = (dict, Mapping, MutableMapping)
SETS = (set, frozenset, AbstractSet)
LISTS = (list, Sequence)


class NotHeld(FrameworkError):
    """A type that cannot be written and read back."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


def unwrapped(declared: Any) -> Any:
    """Look through `Annotated`, `NewType` and aliases."""
    while True:
        if get_origin(declared) is Annotated:
            declared = get_args(declared)[0]
        elif isinstance(declared, NewType):
            declared = declared.__supertype__
        elif hasattr(declared, "__value__"):
            parameters = getattr(get_origin(declared), "__type_params__", ())
            declared = substituted(declared.__value__, dict(zip(parameters, get_args(declared), strict=False)))
        else:
            return declared


def field_types(declared: Any, path: str = "") -> dict[str, Any]:
    """Return the types of the fields of *declared*, an attrs class or a generic one with its types in brackets."""
    cls = get_origin(declared) or declared
    try:
        types = get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise NotHeld(path, f"has an annotation in {cls.__name__} that cannot be resolved: {error}") from None
    bound = _bindings(declared, path)
    return {name: substituted(each, bound) for name, each in types.items()}


def _bindings(declared: Any, path: str) -> dict[Any, Any]:
    """Return what stands for each type variable in *declared* and in the generic classes it inherits from."""
    cls = get_origin(declared) or declared
    bound = dict(zip(getattr(cls, "__parameters__", ()), get_args(declared), strict=False))
    names = {parameter.__name__: meant for parameter, meant in bound.items()}
    for each in cls.__mro__:
        for base in each.__dict__.get("__orig_bases__", ()):
            parameters = getattr(get_origin(base), "__parameters__", ())
            for parameter, given in zip(parameters, get_args(base), strict=False):
                meant = substituted(given, bound)
                bound[parameter] = meant
                # cattrs knows them by name.
                if names.setdefault(parameter.__name__, meant) != meant:
                    raise NotHeld(path, f"{cls.__name__} gives {parameter!r} two meanings: rename one of them")
    return bound


def substituted(declared: Any, bound: Mapping[Any, Any]) -> Any:
    """Return *declared* with its type variables replaced."""
    if isinstance(declared, TypeVar):
        return bound.get(declared, declared)
    open_ = getattr(declared, "__parameters__", ())
    if get_origin(declared) is None or not open_:
        return declared
    return declared[tuple(bound.get(each, each) for each in open_)]


def members_of(declared: Any) -> list[Any]:
    """Return the members of a union, those of the unions in it included, each once."""
    members: dict[Any, None] = {}
    for each in map(unwrapped, get_args(declared)):
        members.update(dict.fromkeys(members_of(each) if is_union(each) else [each]))
    return list(members)


def is_wrapped(declared: Any) -> bool:
    """Say whether there is something to see through."""
    return unwrapped(declared) is not declared


def is_enum(declared: Any) -> bool:
    """Say whether *declared* is an enum."""
    return isinstance(declared, type) and issubclass(declared, enum.Enum)


def is_literal(declared: Any) -> bool:
    """Say whether *declared* is a `Literal`."""
    return get_origin(declared) is Literal


def is_array(declared: Any) -> bool:
    """Say whether *declared* is a tuple, a list, a set, or what stands for one."""
    return (get_origin(declared) or declared) in (tuple, *LISTS, *SETS)


def is_mapping(declared: Any) -> bool:
    """Say whether *declared* is a mapping."""
    return (get_origin(declared) or declared) in MAPPINGS


def is_union(declared: Any) -> bool:
    """Say whether *declared* is a union."""
    return get_origin(declared) in (Union, UnionType)


def is_attrs(declared: Any) -> bool:
    """Say whether *declared* is an attrs class, or a generic one with its types in brackets."""
    return attrs.has(get_origin(declared) or declared)
