"""Domain values to JSON and back: what comes back is equal to what went in, or nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import attrs
import cattrs
import msgspec

from framework.codec.annotations import NotHeld, field_types
from framework.codec.decoding import document_hook
from framework.codec.forms import Forms
from framework.codec.leaves import Refused, plain
from framework.errors import UndecodablePayload, UnencodableValue, UnsupportedType

T = TypeVar("T")

NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})
"""Most events have none, and share this one."""

NUL = b"\\u0000"
"""How JSON writes the one character that PostgreSQL's text cannot hold."""


@attrs.frozen
class _Hooks:
    unstructure: Callable[[Any], Any]
    structure: Callable[[Any, Any], Any]
    decode: Callable[[bytes], Any]
    """The shorter way to the same value, for a document in which there is nothing special."""


class Codec:
    """Writes attrs values as JSON, and reads them back as the class you name.

    Held are bool, int, float, str, bytes, UUID, Decimal, aware datetime, date, time, timedelta, Enum, Literal and None;
    tuples, lists, sets, frozensets and mappings of those, and attrs classes of them, nested as you like; unions that
    JSON can tell apart, where attrs classes are told apart by name; and what you `register`. A value that does not fit
    its annotation is refused when it is written, since it would come back as another. What equality does not tell apart
    may be lost: the order of a mapping's keys, the sign of 0.0. A datetime keeps its zone. Fields that a payload lacks
    take their default, fields that the class lacks are passed over.
    """

    def __init__(self) -> None:
        self._forms = Forms()
        self._fast = self._forms.install(cattrs.Converter(detailed_validation=False))
        self._careful = self._forms.install(cattrs.Converter(detailed_validation=True))
        self._hooks: dict[type, _Hooks] = {}

    def register(self, cls: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
        """Hold values of *cls*: *encode* turns one into what JSON knows, *decode* turns that back into an equal one."""
        self._forms.register(cls, encode, decode)
        self._hooks.clear()  # they may have been made for a class that holds one

    def check(self, cls: type) -> None:
        """Raise `UnsupportedType` if *cls* has a field that could not be written and read back."""
        if cls in self._hooks:
            return
        try:
            self._forms.check(cls)
            self._hooks[cls] = _Hooks(
                self._fast.get_unstructure_hook(cls),
                self._fast.get_structure_hook(cls),
                document_hook(cls, self._fast, self._forms.is_registered),
            )
        except NotHeld as error:
            raise UnsupportedType(cls, error.path, error.reason) from None

    def encode(self, value: object) -> bytes:
        """Return *value* as a JSON document; raises `UnencodableValue` naming the field."""
        cls = type(value)
        hooks = self._hooks.get(cls)
        if hooks is None:
            self.check(cls)
            hooks = self._hooks[cls]
        try:
            document = msgspec.json.encode(hooks.unstructure(value))
        except RecursionError:
            raise UnencodableValue(f"{cls.__name__}: it is nested too deeply") from None
        except Exception as error:  # what is registered is the user's own code
            raise UnencodableValue(f"{cls.__name__}{self._where(value, error)}") from error
        if NUL in document:
            _refuse_nul(cls.__name__, msgspec.json.decode(document))
        return document

    def decode(self, cls: type[T], document: bytes) -> T:
        """Return the value of *cls* that *document* holds; raises `UndecodablePayload` naming the field."""
        hooks = self._hooks.get(cls)
        if hooks is None:
            self.check(cls)
            hooks = self._hooks[cls]
        try:
            value: T = hooks.decode(document)
        except Exception:  # noqa: BLE001 - whatever it is, it may be the shorter way that does not lead there
            value = self._structure(hooks, cls, document)
        return value

    def decode_exactly(self, cls: type[T], document: bytes) -> T:
        """Return the value of *cls* that *document* holds, as `encode` would write it today and no other.

        Raises a `CodecError`; for a document that lacks a field, too, or has one more.
        """
        value = self.decode(cls, document)
        if msgspec.json.decode(self.encode(value)) != msgspec.json.decode(document):
            raise UndecodablePayload(f"{cls.__name__}: the payload is of other fields than the class")
        return value

    def decode_plain(self, document: bytes) -> dict[str, Any]:
        """Return *document* as JSON has it; raises `UndecodablePayload` if it is no object."""
        try:
            return msgspec.json.decode(document, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise UndecodablePayload(f"the payload is no JSON object: {error}") from error

    def decode_from(self, cls: type[T], plain: Mapping[str, Any]) -> T:
        """Return the value of *cls* that *plain*, as JSON has it, holds; raises `UndecodablePayload`."""
        try:
            document = msgspec.json.encode(plain)
        except (TypeError, ValueError, RecursionError) as error:
            raise UndecodablePayload(f"{cls.__name__}: the payload is not JSON: {error}") from error
        return self.decode(cls, document)

    def from_plain(self, declared: Any, plain: Any) -> Any:
        """Return the value of the type *declared* that *plain*, read from JSON, stands for.

        Raises whatever its forms, or a class's own converters and validators, make of one that does not fit.
        """
        return self._fast.structure(plain, declared)

    def encode_metadata(self, metadata: Mapping[str, Any]) -> bytes:
        """Return *metadata* as a JSON object; raises `UnencodableValue` for what JSON does not hold as it is."""
        try:
            document = msgspec.json.encode(plain(metadata, ""))
        except RecursionError:
            raise UnencodableValue("metadata: it is nested too deeply") from None
        except (Refused, ValueError) as error:
            raise UnencodableValue(f"metadata{error}") from error
        if NUL in document:
            _refuse_nul("metadata", msgspec.json.decode(document))
        return document

    def decode_metadata(self, document: bytes) -> Mapping[str, Any]:
        """Return the metadata that *document* holds."""
        metadata: Mapping[str, Any] = NO_METADATA if document == b"{}" else msgspec.json.decode(document)
        return metadata

    def _structure(self, hooks: _Hooks, cls: type, document: bytes) -> Any:
        try:
            return hooks.structure(msgspec.json.decode(document), cls)
        except Exception as error:
            raise UndecodablePayload(self._faults(cls, document, error)) from error

    def _where(self, value: object, error: Exception) -> str:
        """Return the path to what could not be written, and why."""
        cls: Any = value.__class__
        types = field_types(cls)
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
        for field in fields:
            inner: Any = getattr(value, field.name)
            try:
                msgspec.json.encode(self._fast.get_unstructure_hook(types[field.name])(inner))
            except Exception as cause:  # noqa: BLE001 - this is the one that is looked for
                deeper = type(inner) in self._forms.checked
                return f".{field.name}{self._where(inner, cause) if deeper else f': {cause}'}"
        return f": {error}"

    def _faults(self, cls: type, document: bytes, error: Exception) -> str:
        try:
            self._careful.structure(msgspec.json.decode(document), cls)
        except cattrs.BaseValidationError as faults:
            return f"{cls.__name__}: {'; '.join(cattrs.transform_error(faults))}"
        except msgspec.DecodeError:
            return f"{cls.__name__}: the payload is not JSON: {error}"
        except Exception as cause:  # noqa: BLE001 - whatever a class's own converters and validators raise
            return f"{cls.__name__}: {cause}"
        return f"{cls.__name__}: {error}"


def _refuse_nul(path: str, value: Any) -> None:
    """Raise if there is a NUL in *value*; the bytes alone do not tell one from a backslash before `u0000`."""
    inner: Any = value
    match value:
        case str() if "\0" in value:
            raise UnencodableValue(f"{path}: PostgreSQL holds no text with NUL")
        case dict():
            for key, each in inner.items():
                _refuse_nul(path, key)
                _refuse_nul(f"{path}.{key}", each)
        case list():
            for number, each in enumerate(inner):
                _refuse_nul(f"{path}[{number}]", each)
        case _:
            pass
