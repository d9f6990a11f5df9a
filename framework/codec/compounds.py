"""Hooks for the types that hold others: how a value of each is written, and read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from types import NoneType
from typing import Any, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn

from framework.codec.annotations import (
    is_array,
    is_attrs,
    is_literal,
    is_mapping,
    is_union,
    is_wrapped,
    members_of,
    unwrapped,
)
from framework.codec.leaves import Refused, exactly, is_exactly, unfit


def teach_compounds(converter: cattrs.Converter) -> None:
    """Have *converter* write and read what holds other values; it must know the leaves already."""
    for predicate, way_in, way_out in (
        (is_wrapped, _wrapped_in, _wrapped_out),
        (is_literal, _literal_in, _literal_out),
        (is_array, _array_in, _array_out),
        (is_mapping, _mapping_in, _mapping_out),
        (is_union, _union_in, _union_out),
    ):
        converter.register_unstructure_hook_factory(predicate)(way_in)
        converter.register_structure_hook_factory(predicate)(way_out)
    converter.register_unstructure_hook_factory(is_attrs)(_attrs_in)


def _wrapped_in(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    return converter.get_unstructure_hook(unwrapped(declared))


def _wrapped_out(declared: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    inner = unwrapped(declared)
    hook = converter.get_structure_hook(inner)
    return lambda value, _: hook(value, inner)


def enum_hooks(cls: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return how a member of the enum *cls* is written and read: by its value.

    They are for the class itself: one that is text or a number too would else be taken for that.
    """

    def encode(value: Any) -> Any:
        if type(value) is not cls:
            raise unfit(value, f"a member of {cls.__name__}")
        return value.value

    return encode, cls


def _literal_in(declared: Any) -> Callable[[Any], Any]:
    known: list[Any] = [(type(each), each) for each in get_args(declared)]

    def encode(value: Any) -> Any:
        if (type(value), value) not in known:
            raise unfit(value, f"one of {', '.join(map(repr, get_args(declared)))}")
        return value

    return encode


def _literal_out(declared: Any) -> Callable[[Any, Any], Any]:
    encode = _literal_in(declared)

    def decode(value: Any, _: Any) -> Any:
        return encode(value)

    return decode


# Tuples, lists, sets ---------------------------------------------------------------------------------


def _array_in(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        hooks: list[Any] = [converter.get_unstructure_hook(each) for each in arguments]

        def encode_fixed(value: Any) -> list[Any]:
            if not is_exactly(tuple, value) or len(value) != len(hooks):
                raise unfit(value, f"a tuple of {len(hooks)}")
            return [hook(each) for hook, each in zip(hooks, value, strict=True)]

        return encode_fixed
    hook: Callable[[Any], Any] = converter.get_unstructure_hook(arguments[0])
    cls: Any = _concrete(origin)
    if cls in (set, frozenset):

        def encode_set(value: Any) -> list[Any]:
            if not is_exactly(cls, value):
                raise unfit(value, f"a {cls.__name__}")
            return sorted(map(hook, value), key=repr)  # one order, so that the same set is the same document

        return encode_set

    def encode_list(value: Any) -> list[Any]:
        if type(value) is not cls:
            raise unfit(value, f"a {cls.__name__}")
        return list(map(hook, value))

    return encode_list


def _array_out(declared: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        hooks = [converter.get_structure_hook(each) for each in arguments]

        def decode_fixed(value: Any, _: Any) -> Any:
            return tuple(hook(one, each) for hook, each, one in zip(hooks, arguments, _list(value), strict=True))

        return decode_fixed
    element, cls = arguments[0], _concrete(origin)
    hook = converter.get_structure_hook(element)

    def decode(value: Any, _: Any) -> Any:
        return cls(hook(each, element) for each in _list(value))

    return decode


_list = exactly(list)


def _concrete(origin: Any) -> Any:
    """Return the class that a field declared as *origin* comes back as."""
    return {Sequence: tuple, AbstractSet: frozenset}.get(origin, origin)


# Mappings --------------------------------------------------------------------------------------------


def _mapping_in(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    key_in, value_in = map(converter.get_unstructure_hook, get_args(declared))

    def encode(value: Any) -> dict[Any, Any]:
        if not is_exactly(dict, value):
            raise unfit(value, "a dict")
        # PostgreSQL keeps no order of keys: sorted, the same mapping is the same document.
        return dict(sorted((key_in(key), value_in(each)) for key, each in value.items()))

    return encode


def _mapping_out(declared: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    key_type, value_type = get_args(declared)
    key_out, value_out = converter.get_structure_hook(key_type), converter.get_structure_hook(value_type)

    def decode(value: Any, _: Any) -> dict[Any, Any]:
        return {key_out(key, key_type): value_out(each, value_type) for key, each in _dict(value).items()}

    return decode


_dict = exactly(dict)


# Unions ----------------------------------------------------------------------------------------------


def _union_in(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    members = members_of(declared)
    may_be_none = NoneType in members
    tagged: dict[Any, Any] = {
        get_origin(each) or each: converter.get_unstructure_hook(each) for each in members if is_attrs(each)
    }
    others = [converter.get_unstructure_hook(each) for each in members if not is_attrs(each) and each is not NoneType]
    is_several = len(tagged) > 1

    def encode(value: Any) -> Any:
        if may_be_none and is_exactly(NoneType, value):
            return None
        if (hook := tagged.get(type(value))) is not None:
            return {"$type": type(value).__name__, **hook(value)} if is_several else hook(value)
        for other in others:
            try:
                return other(value)
            except Refused:
                continue
        raise unfit(value, str(declared))

    return encode


def _union_out(declared: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    members = members_of(declared)
    may_be_none = NoneType in members
    tagged = {each.__name__: (each, converter.get_structure_hook(each)) for each in members if is_attrs(each)}
    others = [
        (each, converter.get_structure_hook(each)) for each in members if not is_attrs(each) and each is not NoneType
    ]

    def decode(value: Any, _: Any) -> Any:
        if may_be_none and is_exactly(NoneType, value):
            return None
        if tagged and is_exactly(dict, value):
            name = value.get("$type") if len(tagged) > 1 else next(iter(tagged))
            if name not in tagged:
                raise unfit(name, f"one of {', '.join(tagged)}")
            cls, hook = tagged[name]
            return hook(value, cls)
        faults: list[Exception] = []
        for cls, hook in others:
            try:
                return hook(value, cls)
            except Exception as fault:  # noqa: BLE001 - whichever member it is, the others do not fit
                faults.append(fault)
        raise faults[-1] if faults else unfit(value, str(declared))

    return decode


# attrs classes ---------------------------------------------------------------------------------------


def _attrs_in(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    cls = get_origin(declared) or declared
    # What runs when a value is made runs again when it is read back, and may make another one of it.
    is_remade = any(field.converter for field in attrs.fields(cls)) or any(
        hasattr(cls, name) for name in ("__attrs_init__", "__attrs_pre_init__", "__attrs_post_init__")
    )
    fields: Callable[[Any], Any] | None = None

    def encode(value: Any) -> Any:
        nonlocal fields
        # A subclass would come back as its parent.
        if type(value) is not cls:
            raise unfit(value, f"a {cls.__name__}")
        if is_remade and (remade := attrs.evolve(value)) != value:
            raise Refused(f"{value!r} would come back as {remade!r}, since it is made anew: mind its converters")
        if fields is None:  # not before: a class that holds itself would look for this very hook
            fields = make_dict_unstructure_fn(declared, converter)
        return fields(value)

    return encode
