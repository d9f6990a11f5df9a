"""An upcaster: one step that a stored payload takes towards the form that the code has today."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar

import attrs

from framework.errors import ConfigurationError, InvalidContract
from framework.messages import Metadata


@attrs.frozen
class Upcast:
    """What an event of before is after one step."""

    data: Mapping[str, Any]
    """Its payload, as JSON has it."""
    metadata: Metadata | None = None
    """As it was unless given."""
    event: str | None = None
    """The name of its type, one that its upcaster `becomes`; as it was unless given."""
    version: int | None = None
    """That of its type; the next one, or 1 for another type, unless given."""


class Upcaster(ABC):
    """Brings events of one type and version, as they are stored, to a later version, or to other types.

    Subclass it with the name and the version it takes, and give an instance to the application:
    `class MoneySentV1(Upcaster, event="money-sent", version=1)`. Where events become those of other types, name these:
    `becomes=("money-sent", "fee-charged")`. What it returns may be brought further by the upcasters that follow. It is
    asked whenever a stored event is read, by whomever, and nothing it says is stored: what was recorded stays as it is.
    """

    event: ClassVar[str]
    """The name, one of today, of the type that it takes."""
    version: ClassVar[int]
    """The version that it takes."""
    becomes: ClassVar[tuple[str, ...]]
    """The names of other types that it makes events of."""

    __slots__ = ()

    def __init_subclass__(
        cls, *, event: str | None = None, version: int | None = None, becomes: Collection[str] = (), **rest: Any
    ) -> None:
        """Note what the class takes; raises `InvalidContract` if that can be nothing."""
        super().__init_subclass__(**rest)
        if event is None and version is None and not becomes:
            return  # a base of the user's own
        if not event or version is None or version < 1:
            raise InvalidContract(
                f"{cls.__name__} takes {event!r} of version {version!r}: name both, as in"
                f" class {cls.__name__}(Upcaster, event='money-sent', version=1)"
            )
        if isinstance(becomes, str) or event in becomes:
            raise InvalidContract(
                f"{cls.__name__} becomes {becomes!r}: name the other types in a tuple, and not its own"
            )
        cls.event, cls.version, cls.becomes = event, version, tuple(becomes)

    @abstractmethod
    def upcast(self, data: dict[str, Any], metadata: Metadata) -> Iterable[Upcast]:
        """Yield what an event with the payload *data* is: one event, or several in their order, or none.

        *data* is JSON, made for this call: it may be changed and given back. For one payload it yields the same each
        time, whoever asks, or two readers would see two histories.
        """


def check_upcaster(upcaster: object) -> Upcaster:
    """Return *upcaster* if it is one that can be asked; raises `ConfigurationError`."""
    if isinstance(upcaster, type) and issubclass(upcaster, Upcaster):
        raise ConfigurationError(f"{upcaster.__name__} is a class: give an instance, {upcaster.__name__}()")
    if not isinstance(upcaster, Upcaster):
        raise ConfigurationError(f"{upcaster!r} is no upcaster: subclass framework.Upcaster")
    if not hasattr(upcaster, "event"):
        name = type(upcaster).__name__
        raise InvalidContract(f"{name} does not say what it takes: write class {name}(Upcaster, event=…, version=…)")
    return upcaster
