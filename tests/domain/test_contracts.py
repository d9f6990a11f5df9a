"""Which messages a class takes is read from the brackets of its base, however they are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ForwardRef, Generic, Optional, Self, TypeAlias, TypeVar, Union

import attrs
import pytest
from typing_extensions import TypeAliasType

from framework.contracts import initial_state, message_types
from framework.errors import InvalidContract

C = TypeVar("C")
E = TypeVar("E")
X = TypeVar("X")


class Base(Generic[C, E]):
    __slots__ = ()


@attrs.frozen
class Open:
    id: str


@attrs.frozen
class Close:
    id: str


@attrs.frozen
class Audit:
    id: str


@attrs.frozen
class Opened:
    id: str


@attrs.define
class Changing:
    id: str


class Unbuilt:
    id: str


Either: TypeAlias = Open | Close
Declared = TypeAliasType("Declared", Open | Close)
Nested = TypeAliasType("Nested", Annotated[Declared, "all of them"] | Audit)


class One(Base[Open, Opened]):
    pass


class OldUnion(Base[Union[Open, Close], Opened]):  # noqa: UP007 - as some write it
    pass


class NewUnion(Base[Open | Close, Opened]):
    pass


class ByAlias(Base[Either, Opened]):
    pass


class ByAliasType(Base[Declared, Opened]):
    pass


class Noted(Base[Annotated[Open | Close, "noted"], Opened]):
    pass


class Later(Base["Open | Close", Opened]):
    pass


class Referred(Base[ForwardRef("Open") | Close, Opened]):  # type: ignore[misc]  # pyright: ignore[reportInvalidTypeForm]
    pass


class Repeated(Base[Open | Close | Open, Opened]):
    pass


class Child(NewUnion):
    pass


@attrs.frozen
class Slotted(Base[Open | Close, Opened]):
    state: int = 0


class Audited(Base[C | Audit, E], Generic[C, E]):
    pass


class Between(Audited[Open | Close, Opened]):
    pass


class Swapped(Base[E, C], Generic[C, E]):
    pass


class SwappedBack(Swapped[Opened, Open | Close]):
    pass


class Half(Base[C, Opened], Generic[C]):
    pass


class Whole(Half[Open | Close]):
    pass


class Mixin(Generic[X]):
    pass


class Mixed(Mixin[Audit], NewUnion):
    pass


@pytest.mark.parametrize(
    "cls",
    [
        OldUnion,
        NewUnion,
        ByAlias,
        ByAliasType,
        Noted,
        Later,
        Referred,
        Repeated,
        Child,
        Slotted,
        SwappedBack,
        Whole,
        Mixed,
    ],
)
def test_every_way_to_write_a_union_says_the_same(cls: type) -> None:
    assert message_types(cls, Base, 0) == (Open, Close)
    assert message_types(cls, Base, 1) == (Opened,)


def test_a_single_message_is_a_union_of_one() -> None:
    assert message_types(One, Base, 0) == (Open,)


def test_what_a_generic_base_in_between_adds_is_there_too() -> None:
    assert message_types(Between, Base, 0) == (Open, Close, Audit)


def test_an_alias_of_aliases_is_looked_through() -> None:
    class Deep(Base[Nested, Opened]):
        pass

    assert message_types(Deep, Base, 0) == (Open, Close, Audit)


# What is refused -----------------------------------------------------------------------------------


class Bare(Base):  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument]
    pass


class Short(Generic[C]):
    pass


class TooFew(Short[Open]):
    pass


class StillOpen(Base[C, E]):
    pass


class OpenInPart(Audited[C, Opened]):
    pass


class Anything(Base[Any, Opened]):
    pass


class AnyObject(Base[object, Opened]):
    pass


class Maybe(Base[Optional[Open], Opened]):  # noqa: UP045 - as some write it
    pass


class NotBuilt(Base[Open | Unbuilt, Opened]):
    pass


class MayChange(Base[Open | Changing, Opened]):
    pass


class Misspelt(Base["Opne", Opened]):  # type: ignore[name-defined]  # pyright: ignore[reportUndefinedVariable]
    pass


class MisspeltInModule(Base["attrs.Opne", Opened]):  # type: ignore[name-defined]  # pyright: ignore[reportAttributeAccessIssue]
    pass


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Bare, r"Bare does not say which messages it takes: write 'class Bare\(Base\[…\]\)'"),
        (Unbuilt, "Unbuilt does not say which messages it takes"),
        (StillOpen, "StillOpen leaves open which messages it takes"),
        (OpenInPart, "OpenInPart leaves open which messages it takes"),
        (Anything, "Anything leaves open which messages it takes"),
        (AnyObject, "AnyObject leaves open which messages it takes"),
        (Maybe, "Maybe declares <class 'NoneType'> as a message: a message is a frozen attrs class"),
        (NotBuilt, r"NotBuilt declares <class '.*\.Unbuilt'> as a message: a message is a frozen attrs class"),
        (MayChange, r"Changing, a message of MayChange, can change: make it @attrs\.frozen"),
        (Misspelt, "Misspelt declares 'Opne', which is not defined where it is written"),
        (MisspeltInModule, r"MisspeltInModule declares 'attrs\.Opne', which is not defined where it is written"),
    ],
)
def test_a_class_that_declares_no_usable_messages_is_refused(cls: type, reason: str) -> None:
    with pytest.raises(InvalidContract, match=reason):
        message_types(cls, Base, 0)


def test_a_parameter_that_the_base_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidContract, match="TooFew does not say"):
        message_types(TooFew, Short, 1)


# The first state -----------------------------------------------------------------------------------


class Decides(ABC):
    __slots__ = ()

    @abstractmethod
    def execute(self) -> Iterator[object]: ...

    @abstractmethod
    def apply(self) -> Self: ...


@attrs.frozen
class NeedsMore:
    balance: int


@attrs.define
class Mutable:
    balance: int = 0


@attrs.frozen
class Async:
    async def execute(self) -> None:
        raise NotImplementedError


@attrs.frozen
class AsyncGenerator:
    async def execute(self) -> Any:
        yield


def test_the_first_state_is_made_of_the_defaults() -> None:
    assert initial_state(Slotted) == Slotted(0)


def test_an_abstract_class_has_no_state() -> None:
    @attrs.frozen
    class Unfinished(Decides):
        pass

    with pytest.raises(InvalidContract, match="Unfinished does not define apply and execute"):
        initial_state(Unfinished)  # type: ignore[type-abstract]


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (NeedsMore, "NeedsMore must have a default for every field, its state before the first event: .*'balance'"),
        (Mutable, r"Mutable must be a frozen attrs class: put @attrs\.frozen above it"),
        (Unbuilt, "Unbuilt must be a frozen attrs class"),
        (Async, r"Async\.execute is async: it decides without waiting, so write 'def'"),
        (AsyncGenerator, r"AsyncGenerator\.execute is async"),
    ],
)
def test_a_class_without_a_first_state_is_refused(cls: type, reason: str) -> None:
    with pytest.raises(InvalidContract, match=reason):
        initial_state(cls)
