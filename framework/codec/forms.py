"""Which types a message's fields may have, and which hooks write and read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, get_args, get_origin

import attrs
import cattrs

from framework.codec.annotations import (
    NotHeld,
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
from framework.codec.compounds import enum_hooks, teach_compounds
from framework.codec.leaves import LEAVES, Form, Kind, Refused, plain, unfit

T = TypeVar("T")


class Forms:
    """The forms of all types: those that are built in, those registered, and those composed of them."""

    def __init__(self) -> None:
        self.checked: set[Any] = set()
        """The attrs classes that are known to be held."""
        self._leaves: dict[Any, Form] = dict(LEAVES)
        self._converters: list[cattrs.Converter] = []

    def register(self, cls: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
        """Hold values of *cls* by the user's own functions."""

        def encode_own(value: Any) -> Any:
            if not isinstance(value, cls):
                raise unfit(value, f"a {cls.__name__}")
            document = encode(value)
            if document is None:
                raise Refused(f"what encodes a {cls.__name__} returned None, which is how a missing one is written")
            return plain(document, f"what encodes a {cls.__name__} returned")

        def decode_own(document: Any) -> Any:
            try:
                return decode(document)
            except Exception as error:
                raise Refused(f"what decodes a {cls.__name__} failed: {error!r}") from error

        self._hold(cls, Form(Kind.UNKNOWN, encode_own, decode_own))

    def is_registered(self, declared: Any) -> bool:
        """Say whether the user has a form of their own for *declared*, be it in the place of one that is built in."""
        return self._leaves.get(declared) is not LEAVES.get(declared)

    def install(self, converter: cattrs.Converter) -> cattrs.Converter:
        """Teach *converter* all forms, and return it."""
        self._converters.append(converter)
        for cls, form in self._leaves.items():
            _teach(converter, cls, form)
        teach_compounds(converter)
        return converter

    def check(self, cls: type) -> None:
        """Raise `NotHeld` if *cls* has a field of a type that is not held."""
        if not attrs.has(cls):
            raise NotHeld("", "is not an attrs class")
        known = set(self.checked)
        try:
            self._attrs_kind(cls, "")
        except NotHeld:
            self.checked = known  # classes that hold each other were found to be held only if all of them are
            raise

    def kind(self, declared: Any, path: str) -> Kind:  # noqa: PLR0911 - one line for each sort of type
        """Return what *declared* looks like in JSON; raises `NotHeld` if it is not held."""
        declared = unwrapped(declared)
        if (form := self._leaves.get(declared)) is not None:
            return form.kind
        if is_attrs(declared):
            return self._attrs_kind(declared, path)
        if is_enum(declared):
            kind = _value_kind([member.value for member in declared], path)
            self._hold(declared, Form(kind, *enum_hooks(declared)))
            return kind
        if is_literal(declared):
            return _value_kind(get_args(declared), path)
        if is_array(declared):
            for element in _elements(declared, path):
                self.kind(element, f"{path}[]")
            return Kind.ARRAY
        if is_mapping(declared):
            return self._mapping_kind(declared, path)
        if is_union(declared):
            return self._union_kind(declared, path)
        raise NotHeld(path, f"{declared!r} is not a type the codec holds: register it with codec.register")

    def _hold(self, cls: type, form: Form) -> None:
        self._leaves[cls] = form
        for converter in self._converters:
            _teach(converter, cls, form)

    def _attrs_kind(self, declared: Any, path: str) -> Kind:
        if declared not in self.checked:
            self.checked.add(declared)  # first: a class may hold itself
            self._check_fields(declared, path)
        return Kind.TAGGED

    def _check_fields(self, declared: Any, path: str) -> None:
        types = field_types(declared, path)
        for field in attrs.fields(get_origin(declared) or declared):
            here = f"{path}.{field.name}" if path else field.name
            if field.name not in types:
                raise NotHeld(here, "has no annotation to say what it holds")
            if not field.init:
                raise NotHeld(here, "is not set by __init__, so it cannot be read back")
            self.kind(types[field.name], here)

    def _mapping_kind(self, declared: Any, path: str) -> Kind:
        key, value = get_args(declared) or (Any, Any)
        if self.kind(key, f"{path} (key)") is not Kind.TEXT:
            raise NotHeld(path, f"has keys of {key!r}: a key of a JSON object is text")
        self.kind(value, f"{path}[]")
        return Kind.OBJECT

    def _union_kind(self, declared: Any, path: str) -> Kind:
        seen: list[tuple[Kind, Any]] = []
        for member in members_of(declared):
            kind = self.kind(member, path)
            for other_kind, other in seen:
                if _clash(kind, other_kind):
                    raise NotHeld(path, f"is a union in which JSON cannot tell {member!r} from {other!r}")
                if kind is other_kind is Kind.TAGGED and member.__name__ == other.__name__:
                    raise NotHeld(path, f"is a union of two classes called {member.__name__}: rename one")
            seen.append((kind, member))
        return Kind.UNKNOWN


def _clash(one: Kind, other: Kind) -> bool:
    """Say whether values of the two could be taken for each other."""
    if Kind.NULL in {one, other}:
        return False
    if Kind.UNKNOWN in {one, other} or {one, other} == {Kind.OBJECT, Kind.TAGGED}:
        return True
    return one is other is not Kind.TAGGED


def _teach(converter: cattrs.Converter, cls: Any, form: Form) -> None:
    # By class: what cattrs has for str and int by class goes before every predicate.
    converter.register_unstructure_hook(cls, form.encode)
    decode = form.decode
    converter.register_structure_hook(cls, lambda value, _: decode(value))


def _value_kind(values: Iterable[Any], path: str) -> Kind:
    kinds = {Kind.TEXT if type(v) is str else Kind.NUMBER if type(v) is int else Kind.UNKNOWN for v in values}
    if len(kinds) != 1 or Kind.UNKNOWN in kinds:
        raise NotHeld(path, "has values that are not all text, or all whole numbers")
    return kinds.pop()


def _elements(declared: Any, path: str) -> tuple[Any, ...]:
    elements = tuple(each for each in get_args(declared) if each is not Ellipsis)
    if not elements and declared != tuple[()]:
        raise NotHeld(path, f"{declared!r} does not say what it holds")
    return elements
