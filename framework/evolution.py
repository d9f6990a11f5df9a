"""Event types: the names that events are stored under, and the classes they are read back as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from framework.errors import ConfigurationError, DuplicateName, UnknownEventType


class EventTypes:
    """The event classes an application knows, each under one name. A name never imports or calls anything."""

    def __init__(self, classes: Iterable[type]) -> None:
        """Register *classes*; raises `DuplicateName` if two different ones share a name."""
        self._by_name: dict[str, type] = {}
        self._by_class: dict[type, tuple[str, int]] = {}
        for cls in classes:
            name = cls.__name__
            first = self._by_name.setdefault(name, cls)
            if first is not cls:
                raise DuplicateName("event type", name, first, cls)
            self._by_class[cls] = (name, 1)

    @property
    def classes(self) -> Mapping[str, type]:
        """The registered classes by name."""
        return self._by_name

    def name_of(self, cls: type) -> tuple[str, int]:
        """Return the name and version that events of *cls* are stored under; raises `ConfigurationError`."""
        try:
            return self._by_class[cls]
        except KeyError:
            message = f"{cls.__name__} is no event that an aggregate, handler, process or projector here declares"
            raise ConfigurationError(message) from None

    def class_of(self, name: str, version: int, stream: str, at: int) -> type:
        """Return the class of the stored type *name*; raises `UnknownEventType`, met in *stream* at version *at*."""
        cls = self._by_name.get(name)
        if cls is None or version != self._by_class[cls][1]:
            raise UnknownEventType(name, version, f"{stream} version {at}")
        return cls
