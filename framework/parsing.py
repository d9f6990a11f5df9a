"""A command from a JSON document, or everything that is wrong with the document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

import attrs
import msgspec

from framework.codec import Codec
from framework.codec.annotations import field_types, is_union, unwrapped
from framework.errors import Fault, InvalidCommand

C = TypeVar("C")


def parse_command(codec: Codec, command: type[C], document: bytes | str) -> C:
    """Return the *command* that *document* holds.

    Raises `InvalidCommand` with every fault: of types and of missing fields, of the attrs converters and validators, of
    fields that the class does not have. Those of a value that several fields must agree on are looked for last.
    """
    codec.check(command)
    try:
        plain = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidCommand(command, [Fault("$", f"is not JSON: {error}")]) from None
    if faults := list(_Walk(codec).faults(command, plain, "$")):
        raise InvalidCommand(command, faults)
    try:
        made: C = codec.from_plain(command, plain)
    except Exception as error:
        # What no single field is to blame for: __attrs_post_init__, or a validator that looks at the others.
        raise InvalidCommand(command, [Fault("$", _reason(error))]) from error
    return made


@attrs.frozen
class _Walk:
    codec: Codec

    def faults(self, declared: Any, plain: Any, path: str) -> Iterator[Fault]:
        """Yield what keeps *plain* from being a value of *declared*."""
        declared = unwrapped(declared)
        origin, arguments = get_origin(declared) or declared, get_args(declared)
        if attrs.has(origin) and _is(plain, dict):
            yield from self._faults_of_fields(declared, plain, path)
        elif is_union(declared):
            yield from self._faults_of_member(arguments, declared, plain, path)
        elif _is(plain, list) and arguments and _is_many(origin, arguments):
            for number, each in enumerate(plain):
                yield from self.faults(arguments[0], each, f"{path}[{number}]")
        elif _is(plain, dict) and isinstance(origin, type) and issubclass(origin, Mapping):
            for key, each in plain.items():
                yield from self.faults(arguments[1], each, f"{path}[{key!r}]")
        else:
            yield from self._fault_in(declared, plain, path)

    def _fault_in(self, declared: Any, plain: Any, path: str) -> Iterator[Fault]:
        try:
            self.codec.from_plain(declared, plain)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong with the value
            yield Fault(path, _reason(error))

    def _faults_of_member(self, members: Sequence[Any], declared: Any, plain: Any, path: str) -> Iterator[Fault]:
        """Look into the one member that *plain* can be meant as."""
        values = [member for member in members if member is not NoneType]
        if _is(plain, NoneType) and NoneType in members:
            return
        if len(values) == 1:
            yield from self.faults(values[0], plain, path)
        elif _is(plain, dict) and (
            named := [each for each in values if getattr(each, "__name__", "") == plain.get("$type")]
        ):
            yield from self.faults(named[0], {key: plain[key] for key in plain if key != "$type"}, path)
        else:
            yield from self._fault_in(declared, plain, path)

    def _faults_of_fields(self, declared: Any, plain: Mapping[str, Any], path: str) -> Iterator[Fault]:
        cls = get_origin(declared) or declared
        types, fields = field_types(declared, path), attrs.fields_dict(cls)
        for name in plain.keys() - fields.keys():
            yield Fault(f"{path}.{name}", f"{cls.__name__} has no such field")
        instance = object.__new__(cls)  # for the validators, which want to be shown one
        for name, field in fields.items():
            here = f"{path}.{name}"
            if name in plain:
                yield from self._faults_of_field(instance, field, types[name], plain[name], here)
            elif field.default is attrs.NOTHING:
                yield Fault(here, "is missing")

    def _faults_of_field(
        self, instance: object, field: attrs.Attribute[Any], declared: Any, plain: Any, path: str
    ) -> Iterator[Fault]:
        if faults := list(self.faults(declared, plain, path)):
            yield from faults
            return
        value = self.codec.from_plain(declared, plain)
        try:
            converter: Any = getattr(field, "converter")  # noqa: B009 - its type leaves open what it takes and gives
            if converter is not None and not isinstance(converter, attrs.Converter):
                value = converter(value)
            if field.validator is not None:
                field.validator(instance, field, value)
        except AttributeError:
            return  # it looks at other fields: it is asked again when there are all of them
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong with the value
            yield Fault(path, _reason(error))


def _reason(error: Exception) -> str:
    # The validators of attrs raise with a message and a few values behind it.
    message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return message or type(error).__name__


def _is(plain: object, cls: type) -> bool:
    """Say whether *plain* is of *cls*, without telling a type checker what that leaves open."""
    return type(plain) is cls


def _is_many(origin: Any, arguments: Sequence[Any]) -> bool:
    """Say whether it holds any number of one type; a tuple of fixed length is looked at as a whole."""
    return origin is not tuple or arguments[-1] is Ellipsis
