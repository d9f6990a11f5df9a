"""The event types an application knows: the names they are stored under, and what stored events are today."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from framework.errors import ConfigurationError, DuplicateName, MissingUpcaster, UnknownEventType, UpcastFailed
from framework.evolution.declared import declared_by
from framework.evolution.upcaster import Upcast, Upcaster, check_upcaster
from framework.messages import Metadata


class Present(NamedTuple):
    """A stored event, or a part of one, in the form of today."""

    cls: type
    name: str
    version: int
    data: Mapping[str, Any]
    metadata: Metadata


class EventTypes:
    """The event classes an application knows, each under one name. A name never imports or calls anything."""

    def __init__(self, classes: Iterable[type], upcasters: Iterable[Upcaster] = ()) -> None:
        """Register *classes*, and the *upcasters* that lead to them.

        Raises `DuplicateName` if two share a name, `MissingUpcaster` where the way from an older version is broken, and
        `ConfigurationError` for upcasters that lead nowhere or in a circle.
        """
        self._by_name: dict[str, type] = {}
        self._by_class: dict[type, tuple[str, int]] = {}
        self._today: dict[str, str] = {}
        """The name of today of every name there ever was."""
        self._steps: dict[tuple[str, int], Upcaster] = {}
        for cls in classes:
            self._register(cls)
        for upcaster in upcasters:
            self._add_step(check_upcaster(upcaster))
        self._check_steps()
        self._stored_as = {name: self._sources(name) for name in self._by_name}
        self._may_be = _turned(self._stored_as)

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

    def stored_as(self, names: Collection[str]) -> frozenset[str]:
        """Return the names under which the log may hold what is an event of one of *names* today."""
        return frozenset[str]().union(*(self._stored_as.get(name, {name}) for name in names))

    def may_be(self, stored: str) -> frozenset[str]:
        """Return what an event *stored* under a name may be called today: as then, if nobody knows it."""
        return self._may_be.get(stored, frozenset({self.today(stored)}))

    def today(self, name: str) -> str:
        """Return what the type that is, or was, called *name* is called today."""
        return self._today.get(name, name)

    def reads(self, name: str, version: int) -> bool:
        """Say whether what is stored under *name* as of *version* is of a class, or taken further by an upcaster."""
        now = self.today(name)
        return (now, version) in self._steps or self.current(now, version) is not None

    def current(self, name: str, version: int) -> type | None:
        """Return the class of what is stored under *name* as of *version*; None where it is of another time."""
        cls = self._by_name.get(name)
        return cls if cls is not None and self._by_class[cls][1] == version else None

    def upcast(self, name: str, version: int, data: dict[str, Any], metadata: Metadata, where: str) -> list[Present]:
        """Return what an event that was stored under *name* as of *version* is today: one, several or none.

        Raises `UnknownEventType` where that is nothing known, `UpcastFailed` where an upcaster fails; both say *where*.
        """
        done: list[Present] = []
        left = [Upcast(data, metadata, self._today.get(name, name), version)]
        while left:
            each = left.pop()
            # Given by `_after`, and for the first above.
            now, at, carried = each.event or "", each.version or 0, each.metadata or {}
            step = self._steps.get((now, at))
            if step is not None:
                left += reversed(_after(step, dict(each.data), carried, where))
            elif (cls := self.current(now, at)) is not None:
                done.append(Present(cls, now, at, each.data, carried))
            else:
                raise UnknownEventType(now, at, where)
        return done

    def _register(self, cls: type) -> None:
        declared = declared_by(cls)
        for name in (declared.name, *declared.was):
            first = self._by_name.get(self._today.get(name, ""), cls)
            if first is not cls:
                raise DuplicateName("event type", name, first, cls)
            self._today[name] = declared.name
        self._by_name[declared.name] = cls
        self._by_class[cls] = (declared.name, declared.version)

    def _add_step(self, upcaster: Upcaster) -> None:
        takes = (upcaster.event, upcaster.version)
        today = self._today.get(upcaster.event, upcaster.event)
        if today != upcaster.event:
            raise ConfigurationError(
                f"{type(upcaster).__name__} takes {upcaster.event!r}, which is called {today!r} now: name it so"
            )
        first = self._steps.setdefault(takes, upcaster)
        if first is not upcaster:
            raise DuplicateName("step of", f"{takes[0]} version {takes[1]}", type(first), type(upcaster))

    def _check_steps(self) -> None:
        # Of a type that has no class any more, the last step leads to others, or to nothing.
        latest = dict(sorted(self._steps)) | dict(self._by_class.values())
        for name, version in latest.items():
            for old in range(1, version):
                if (name, old) not in self._steps:
                    raise MissingUpcaster(name, old, version)
        for (name, version), step in self._steps.items():
            cls = self._by_name.get(name)
            if cls is not None and version >= self._by_class[cls][1]:
                raise ConfigurationError(
                    f"{type(step).__name__} takes {name!r} version {version}, but {cls.__name__} is of version"
                    f" {self._by_class[cls][1]} itself: count it up, @event_type({name!r}, version={version + 1})"
                )
            for other in step.becomes:
                if other not in self._by_name and not any(taken == other for taken, _ in self._steps):
                    raise ConfigurationError(f"{type(step).__name__} becomes {other!r}, which nobody declares")
                if name in self._reached(other):
                    raise ConfigurationError(
                        f"{type(step).__name__} leads from {name!r} by {other!r} to {name!r} again"
                    )

    def _reached(self, name: str) -> set[str]:
        """Return *name* and the names of all types that events of it may become."""
        reached, left = set[str](), [name]
        while left:
            each = left.pop()
            if each not in reached:
                reached.add(each)
                left += [other for (taken, _), step in self._steps.items() if taken == each for other in step.becomes]
        return reached

    def _sources(self, name: str) -> frozenset[str]:
        """Return all names under which what is an event of *name* today may be stored."""
        retired = {taken for taken, _ in self._steps}
        today = {source for source in retired | {name} if name in self._reached(source)}
        return frozenset(today | {old for old, now in self._today.items() if now in today})


def _after(step: Upcaster, data: dict[str, Any], metadata: Metadata, where: str) -> list[Upcast]:
    """Return what *step* makes of an event, with all that it left open filled in; raises `UpcastFailed`."""
    try:
        yielded = list(step.upcast(data, metadata))
    except Exception as error:  # the user's own code: whatever it raises, it is at this event
        raise UpcastFailed(type(step).__name__, where, f"{type(error).__name__}: {error}") from error
    found: list[Upcast] = []
    for each in yielded:
        if not isinstance(each, Upcast):  # pyright: ignore[reportUnnecessaryIsInstance] - it is the user's own code
            raise UpcastFailed(type(step).__name__, where, f"it yielded {each!r}, and no Upcast")
        name = step.event if each.event is None else each.event
        if name != step.event and name not in step.becomes:
            raise UpcastFailed(type(step).__name__, where, f"it yielded a {name!r}, which it does not name in becomes=")
        version = each.version or (step.version + 1 if name == step.event else 1)
        if name == step.event and version <= step.version:
            raise UpcastFailed(type(step).__name__, where, f"it leads from version {step.version} to {version}")
        found.append(Upcast(each.data, metadata if each.metadata is None else each.metadata, name, version))
    return found


def _turned(stored_as: Mapping[str, frozenset[str]]) -> Mapping[str, frozenset[str]]:
    """Return by stored name what *stored_as* gives by name of today."""
    turned: dict[str, set[str]] = {}
    for name, stored in stored_as.items():
        for each in stored:
            turned.setdefault(each, set()).add(name)
    return {each: frozenset(names) for each, names in turned.items()}
