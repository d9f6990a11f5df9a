"""How each type of a message's field is written as JSON, and which types are not held at all."""

from __future__ import annotations

import base64
import enum
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn

from framework.errors import FrameworkError

T = TypeVar("T")

LONGEST_INT_BITS = 4_096
"""Beyond this an int is no number of any domain, and PostgreSQL's numeric comes to its end."""

DURATION = re.compile(r"(-?)P(\d+)DT(\d+)\.(\d{6})S")


class NotHeld(FrameworkError):
    """A type that cannot be written and read back."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class Refused(FrameworkError):
    """A value that would not come back equal."""


class Kind(enum.Enum):
    """What a form looks like in JSON, which is all there is to tell the members of a union apart."""

    TEXT = "text"
    NUMBER = "number"
    TRUTH = "true or false"
    NULL = "null"
    ARRAY = "array"
    OBJECT = "object"
    TAGGED = "object with a $type"
    UNKNOWN = "whatever its own code makes of it"


@attrs.frozen
class Form:
    """One type's way to JSON and back."""

    kind: Kind
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _exactly(cls: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not cls:
            raise _unfit(value, cls.__name__)
        return value

    return check


def _is_exactly(cls: type, value: object) -> bool:
    """Say whether *value* is of *cls* and no subclass, without telling a type checker what that leaves open."""
    return type(value) is cls


def _unfit(value: object, wanted: str) -> Refused:
    return Refused(f"{value!r} is not {wanted}")


def _int(value: Any) -> Any:
    if type(value) is not int or value.bit_length() > LONGEST_INT_BITS:
        raise _unfit(value, f"an int of at most {LONGEST_INT_BITS} bits")
    return value


def _float_in(value: Any) -> Any:
    # Every finite number, and no other, leaves nothing when taken from itself.
    if type(value) is not float or value - value != 0:
        raise _unfit(value, "a finite float")
    return value


def _float_out(value: Any) -> float:
    # PostgreSQL writes 1e20 without a point: it comes back as a whole number of the same value.
    if type(value) is float or type(value) is int:
        return float(value)
    raise _unfit(value, "a number")


def _uuid_in(value: Any) -> str:
    if not isinstance(value, UUID):
        raise _unfit(value, "a UUID")
    return str(value)


def _decimal_in(value: Any) -> str:
    if type(value) is not Decimal or not value.is_finite():
        raise _unfit(value, "a finite Decimal")
    return str(value)


def _decimal_out(value: Any) -> Decimal:
    try:
        return Decimal(_text(value))
    except InvalidOperation:
        raise _unfit(value, "a decimal number") from None


def _datetime_in(value: Any) -> str:
    if type(value) is not datetime or value.utcoffset() is None:
        raise _unfit(value, "a datetime with a time zone")
    return value.isoformat()


def _date_in(value: Any) -> str:
    if type(value) is not date:
        raise _unfit(value, "a date")
    return value.isoformat()


def _time_in(value: Any) -> str:
    if type(value) is not time or value.tzinfo is not None:
        raise _unfit(value, "a time without a time zone")
    return value.isoformat()


def _duration_in(value: Any) -> str:
    if type(value) is not timedelta:
        raise _unfit(value, "a timedelta")
    size = abs(value)
    return f"{'-' if value < timedelta(0) else ''}P{size.days}DT{size.seconds}.{size.microseconds:06}S"


def _duration_out(value: Any) -> timedelta:
    match = DURATION.fullmatch(_text(value))
    if match is None:
        raise _unfit(value, "a duration such as P1DT2.500000S")
    sign, days, seconds, microseconds = match.groups()
    size = timedelta(days=int(days), seconds=int(seconds), microseconds=int(microseconds))
    return -size if sign else size


def _bytes_in(value: Any) -> str:
    if type(value) is not bytes:
        raise _unfit(value, "bytes")
    return base64.b64encode(value).decode()


def _null(value: Any) -> None:
    if value is not None:
        raise _unfit(value, "None")


_text = _exactly(str)

LEAVES: Mapping[Any, Form] = {
    str: Form(Kind.TEXT, _text, _text),
    int: Form(Kind.NUMBER, _int, _exactly(int)),
    float: Form(Kind.NUMBER, _float_in, _float_out),
    bool: Form(Kind.TRUTH, _exactly(bool), _exactly(bool)),
    NoneType: Form(Kind.NULL, _null, _null),
    UUID: Form(Kind.TEXT, _uuid_in, lambda value: UUID(_text(value))),
    Decimal: Form(Kind.TEXT, _decimal_in, _decimal_out),
    datetime: Form(Kind.TEXT, _datetime_in, lambda value: datetime.fromisoformat(_text(value))),
    date: Form(Kind.TEXT, _date_in, lambda value: date.fromisoformat(_text(value))),
    time: Form(Kind.TEXT, _time_in, lambda value: time.fromisoformat(_text(value))),
    timedelta: Form(Kind.TEXT, _duration_in, _duration_out),
    bytes: Form(Kind.TEXT, _bytes_in, lambda value: base64.b64decode(_text(value), validate=True)),
}
"""The types that hold nothing else. A value of a subclass is refused: it would come back as the parent."""

MAPPINGS = (dict, Mapping, MutableMapping)
SETS = (set, frozenset, AbstractSet)
LISTS = (list, Sequence)


class Forms:
    """The forms of all types: those that are built in, those registered, and those composed of them."""

    def __init__(self) -> None:
        self.checked: set[Any] = set()
        """The attrs classes that are known to be held."""
        self._leaves: dict[Any, Form] = dict(LEAVES)
        self._converters: list[cattrs.Converter] = []

    def register(self, cls: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
        """Hold values of *cls* by the user's own functions."""
        self._leaves[cls] = Form(Kind.UNKNOWN, encode, decode)
        for converter in self._converters:
            _teach(converter, cls, self._leaves[cls])

    def install(self, converter: cattrs.Converter) -> cattrs.Converter:
        """Teach *converter* all forms, and return it."""
        self._converters.append(converter)
        for cls, form in self._leaves.items():
            _teach(converter, cls, form)
        for predicate, way_in, way_out in (
            (_is_enum, _enum_in, _enum_out),
            (_is_literal, _literal_in, _literal_out),
            (_is_array, _array_in, _array_out),
            (_is_mapping, _mapping_in, _mapping_out),
            (_is_union, _union_in, _union_out),
        ):
            converter.register_unstructure_hook_factory(predicate)(way_in)
            converter.register_structure_hook_factory(predicate)(way_out)
        converter.register_unstructure_hook_factory(_is_attrs)(_attrs_in)
        return converter

    def check(self, cls: type) -> None:
        """Raise `NotHeld` if *cls* has a field of a type that is not held."""
        if not attrs.has(cls):
            raise NotHeld("", "is not an attrs class")
        self._attrs_kind(cls, "")

    def type_of(self, cls: type, field: str) -> Any:
        """Return the resolved type of a field of *cls*."""
        return _field_types(cls)[field]

    def kind(self, declared: Any, path: str) -> Kind:  # noqa: PLR0911 - one line for each sort of type
        """Return what *declared* looks like in JSON; raises `NotHeld` if it is not held."""
        declared = _unwrapped(declared)
        if (form := self._leaves.get(declared)) is not None:
            return form.kind
        if attrs.has(get_origin(declared) or declared):
            return self._attrs_kind(declared, path)
        if _is_enum(declared):
            return _value_kind([member.value for member in declared], path)
        if _is_literal(declared):
            return _value_kind(get_args(declared), path)
        if _is_array(declared):
            for element in _elements(declared, path):
                self.kind(element, f"{path}[]")
            return Kind.ARRAY
        if _is_mapping(declared):
            return self._mapping_kind(declared, path)
        if _is_union(declared):
            return self._union_kind(declared, path)
        raise NotHeld(path, f"{declared!r} is not a type the codec holds: register it with codec.register")

    def _attrs_kind(self, declared: Any, path: str) -> Kind:
        if declared not in self.checked:
            self.checked.add(declared)  # first: a class may hold itself
            try:
                self._check_fields(declared, path)
            except NotHeld:
                self.checked.discard(declared)
                raise
        return Kind.TAGGED

    def _check_fields(self, declared: Any, path: str) -> None:
        cls = get_origin(declared) or declared
        bound = dict(zip(getattr(cls, "__parameters__", ()), get_args(declared), strict=False))
        types = _field_types(cls)
        for field in attrs.fields(cls):
            here = f"{path}.{field.name}" if path else field.name
            if not field.init:
                raise NotHeld(here, "is not set by __init__, so it cannot be read back")
            self.kind(bound.get(types[field.name], types[field.name]), here)

    def _mapping_kind(self, declared: Any, path: str) -> Kind:
        key, value = get_args(declared) or (Any, Any)
        if self.kind(key, f"{path} (key)") is not Kind.TEXT:
            raise NotHeld(path, f"has keys of {key!r}: a key of a JSON object is text")
        self.kind(value, f"{path}[]")
        return Kind.OBJECT

    def _union_kind(self, declared: Any, path: str) -> Kind:
        seen: dict[Kind, Any] = {}
        names: set[str] = set()
        for member in get_args(declared):
            kind = self.kind(member, path)
            if kind is Kind.TAGGED:
                if member.__name__ in names:
                    raise NotHeld(path, f"is a union of two classes called {member.__name__}: rename one")
                names.add(member.__name__)
                kind = Kind.OBJECT if Kind.OBJECT in seen else kind
            if kind is Kind.UNKNOWN or (kind in seen and kind is not Kind.TAGGED) or (kind is Kind.OBJECT and names):
                other = seen.get(kind, "the others")
                raise NotHeld(path, f"is a union in which JSON cannot tell {member!r} from {other!r}")
            seen[kind] = member
        return next(iter(seen)) if len(seen) == 1 else Kind.UNKNOWN


def _teach(converter: cattrs.Converter, cls: Any, form: Form) -> None:
    # By class: what cattrs has for str and int by class goes before every predicate.
    converter.register_unstructure_hook(cls, form.encode)
    converter.register_structure_hook(cls, lambda value, _: form.decode(value))


def _unwrapped(declared: Any) -> Any:
    """Look through `Annotated`, `NewType` and aliases."""
    while True:
        if get_origin(declared) is Annotated:
            declared = get_args(declared)[0]
        elif isinstance(declared, NewType):
            declared = declared.__supertype__
        elif hasattr(declared, "__value__"):
            declared = declared.__value__
        else:
            return declared


def _field_types(cls: Any) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise NotHeld("", f"has an annotation that cannot be resolved: {error}") from None


# Enums and literals ----------------------------------------------------------------------------------


def _is_enum(declared: Any) -> bool:
    return isinstance(declared, type) and issubclass(declared, enum.Enum)


def _value_kind(values: Iterable[Any], path: str) -> Kind:
    kinds = {Kind.TEXT if type(v) is str else Kind.NUMBER if type(v) is int else Kind.UNKNOWN for v in values}
    if len(kinds) != 1 or Kind.UNKNOWN in kinds:
        raise NotHeld(path, "has values that are not all text, or all whole numbers")
    return kinds.pop()


def _enum_in(declared: Any) -> Callable[[Any], Any]:
    def encode(value: Any) -> Any:
        if type(value) is not declared or value.name is None or value not in declared:
            raise _unfit(value, f"a member of {declared.__name__}")
        plain = value.value
        return plain if type(plain) is str or type(plain) is int else plain.value

    return encode


def _enum_out(declared: Any) -> Callable[[Any, Any], Any]:
    def decode(value: Any, _: Any) -> Any:
        return declared(value)

    return decode


def _is_literal(declared: Any) -> bool:
    return get_origin(declared) is Literal


def _literal_in(declared: Any) -> Callable[[Any], Any]:
    known: list[Any] = [(type(each), each) for each in get_args(declared)]

    def encode(value: Any) -> Any:
        if (type(value), value) not in known:
            raise _unfit(value, f"one of {', '.join(map(repr, get_args(declared)))}")
        return value

    return encode


def _literal_out(declared: Any) -> Callable[[Any, Any], Any]:
    encode = _literal_in(declared)

    def decode(value: Any, _: Any) -> Any:
        return encode(value)

    return decode


# Tuples, lists, sets ---------------------------------------------------------------------------------


def _is_array(declared: Any) -> bool:
    return (get_origin(declared) or declared) in (tuple, *LISTS, *SETS)


def _elements(declared: Any, path: str) -> tuple[Any, ...]:
    elements = tuple(each for each in get_args(declared) if each is not Ellipsis)
    if not elements and get_args(declared) != () and declared != tuple[()]:
        raise NotHeld(path, f"{declared!r} does not say what it holds")
    if not get_args(declared) and declared != tuple[()]:
        raise NotHeld(path, f"{declared!r} does not say what it holds: write {declared.__name__}[…]")
    return elements


def _array_in(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        hooks: list[Any] = [converter.get_unstructure_hook(each) for each in arguments]

        def encode_fixed(value: Any) -> list[Any]:
            if not _is_exactly(tuple, value) or len(value) != len(hooks):
                raise _unfit(value, f"a tuple of {len(hooks)}")
            return [hook(each) for hook, each in zip(hooks, value, strict=True)]

        return encode_fixed
    hook: Callable[[Any], Any] = converter.get_unstructure_hook(arguments[0])
    cls: Any = _concrete(origin)
    if cls in (set, frozenset):

        def encode_set(value: Any) -> list[Any]:
            if not _is_exactly(cls, value):
                raise _unfit(value, f"a {cls.__name__}")
            return sorted(map(hook, value), key=repr)  # one order, so that the same set is the same document

        return encode_set

    def encode_list(value: Any) -> list[Any]:
        if type(value) is not cls:
            raise _unfit(value, f"a {cls.__name__}")
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


_list = _exactly(list)


def _concrete(origin: Any) -> Any:
    """Return the class that a field declared as *origin* comes back as."""
    return {Sequence: tuple, AbstractSet: frozenset}.get(origin, origin)


# Mappings --------------------------------------------------------------------------------------------


def _is_mapping(declared: Any) -> bool:
    return (get_origin(declared) or declared) in MAPPINGS


def _mapping_in(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    key_in, value_in = map(converter.get_unstructure_hook, get_args(declared))

    def encode(value: Any) -> dict[Any, Any]:
        if not _is_exactly(dict, value):
            raise _unfit(value, "a dict")
        return {key_in(key): value_in(each) for key, each in value.items()}

    return encode


def _mapping_out(declared: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    key_type, value_type = get_args(declared)
    key_out, value_out = converter.get_structure_hook(key_type), converter.get_structure_hook(value_type)

    def decode(value: Any, _: Any) -> dict[Any, Any]:
        return {key_out(key, key_type): value_out(each, value_type) for key, each in _dict(value).items()}

    return decode


_dict = _exactly(dict)


# Unions ----------------------------------------------------------------------------------------------


def _is_union(declared: Any) -> bool:
    return get_origin(declared) in (Union, UnionType)


def _union_in(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    tagged: dict[Any, Any] = {
        each: converter.get_unstructure_hook(each) for each in get_args(declared) if attrs.has(each)
    }
    is_several = len(tagged) > 1
    others = [converter.get_unstructure_hook(each) for each in get_args(declared) if not attrs.has(each)]

    def encode(value: Any) -> Any:
        if value is None and NoneType in get_args(declared):
            return None
        if (hook := tagged.get(type(value))) is not None:
            return {"$type": type(value).__name__, **hook(value)} if is_several else hook(value)
        for other in others:
            try:
                return other(value)
            except Refused:
                continue
        raise _unfit(value, str(declared))

    return encode


def _union_out(declared: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    tagged = {
        each.__name__: (each, converter.get_structure_hook(each)) for each in get_args(declared) if attrs.has(each)
    }
    others = [(each, converter.get_structure_hook(each)) for each in get_args(declared) if not attrs.has(each)]

    def decode(value: Any, _: Any) -> Any:
        if tagged and _is_exactly(dict, value):
            name = value.get("$type") if len(tagged) > 1 else next(iter(tagged))
            if name not in tagged:
                raise _unfit(name, f"one of {', '.join(tagged)}")
            cls, hook = tagged[name]
            return hook(value, cls)
        faults: list[Exception] = []
        for cls, hook in others:
            try:
                return hook(value, cls)
            except Exception as fault:  # noqa: BLE001 - whichever member it is, the others do not fit
                faults.append(fault)
        raise faults[-1] if faults else _unfit(value, str(declared))

    return decode


# attrs classes ---------------------------------------------------------------------------------------


def _is_attrs(declared: Any) -> bool:
    return attrs.has(get_origin(declared) or declared)


def _attrs_in(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    cls = get_origin(declared) or declared
    fields = make_dict_unstructure_fn(declared, converter)

    def encode(value: Any) -> Any:
        # A subclass would come back as its parent.
        if type(value) is not cls:
            raise _unfit(value, f"a {cls.__name__}")
        return fields(value)

    return encode
