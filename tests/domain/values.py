"""An event with a field of every type that is held, and a strategy that fills it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NewType, TypeAlias, TypeVar
from uuid import UUID

import attrs
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from framework.codec import Codec

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Currency(enum.StrEnum):
    EUR = "EUR"
    CHF = "CHF"


class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@attrs.frozen
class Cash:
    amount: int


@attrs.frozen
class Card:
    amount: int
    holder: str | None = None


@attrs.frozen
class Box(Generic[T]):
    content: T
    more: tuple[T, ...] = ()


@attrs.frozen
class IntBox(Box[int]):
    label: str = ""


@attrs.frozen
class Tree:
    name: str
    left: Tree | None = None
    branches: tuple[Tree, ...] = ()


class Money:
    """What no library knows, held once it is registered."""

    def __init__(self, amount: Decimal, currency: str) -> None:
        self.amount = amount
        self.currency = currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self.amount, self.currency) == (other.amount, other.currency)

    def __hash__(self) -> int:
        return hash((self.amount, self.currency))

    def encode(self) -> list[str]:
        return [str(self.amount), self.currency]

    @classmethod
    def decode(cls, document: list[str]) -> Money:
        return cls(Decimal(document[0]), document[1])


def stripped(text: str) -> str:
    return text.strip()


AccountId = NewType("AccountId", str)
Payment: TypeAlias = Cash | Card
Tally = TypeAliasType("Tally", Mapping[str, int | None])
Pair = TypeAliasType("Pair", tuple[T, T], type_params=(T,))


@attrs.frozen
class Everything:
    text: str
    number: int
    ratio: float
    truth: bool
    identity: UUID
    amount: Decimal
    moment: datetime
    day: date
    hour: time
    duration: timedelta
    raw: bytes
    colour: Colour
    currency: Currency
    rank: Rank
    rights: Rights
    size: Literal["small", "large"]
    step: Literal[1, 2, 3]
    nothing: None
    fixed: tuple[int, str, Decimal]
    moments: tuple[datetime, ...]
    listed: list[float]
    sequence: Sequence[date]
    unique: frozenset[Decimal]
    mutable: set[str]
    abstract: AbstractSet[UUID]
    nested_sets: frozenset[frozenset[int]]
    by_name: Mapping[str, Decimal]
    by_day: dict[date, tuple[int, ...]]
    by_colour: Mapping[Colour, Mapping[AccountId, float]]
    optional: Decimal | None
    several: int | str | bool | tuple[int, ...] | None
    card: Card
    card_or_none: Card | None
    payment: Payment
    payments: tuple[Payment | None, ...]
    account: AccountId
    noted: Annotated[Decimal, "in cents"]
    tally: Tally
    pair: Pair[int]
    maybe_tally: Tally | None
    box: Box[Decimal]
    box_or_card: Box[date] | Card
    int_box: IntBox
    tree: Tree
    money: Money
    money_or_none: Money | None
    _private: int = 0
    kept: str = attrs.field(default="", converter=stripped, kw_only=True)


def holder(declared: Any) -> type[Any]:
    """Return a class whose one field is *declared*."""
    made: type[Any] = attrs.make_class("Held", {"it": attrs.field(type=declared)}, frozen=True)
    return made


def codec() -> Codec:
    """Return a codec that knows `Money`."""
    made = Codec()
    made.register(Money, Money.encode, Money.decode)
    return made


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ints = st.integers() | st.integers(-(2**4_000), 2**4_000)
floats = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
offsets = st.builds(timedelta, seconds=st.integers(-86_399, 86_399)).map(timezone)
moments = st.builds(
    # Not drawn by a zone's own clocks, which leave out some hours.
    datetime.astimezone,
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - given beside
    offsets | st.timezones(),
)
cash = st.builds(Cash, ints)
cards = st.builds(Card, ints, st.none() | texts)
payments = cash | cards
tallies = st.dictionaries(texts, st.none() | ints, max_size=3)
money = st.builds(Money, decimals, texts)
trees = st.recursive(
    st.builds(Tree, texts),
    lambda smaller: st.builds(Tree, texts, st.none() | smaller, st.lists(smaller, max_size=2).map(tuple)),
    max_leaves=4,
)


def tuples(elements: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(elements, max_size=3).map(tuple)


everything = st.builds(
    Everything,
    text=texts,
    number=ints,
    ratio=floats,
    truth=st.booleans(),
    identity=st.uuids(),
    amount=decimals,
    moment=moments,
    day=st.dates(),
    hour=st.times(),
    duration=st.timedeltas(),
    raw=st.binary(max_size=20),
    colour=st.sampled_from(Colour),
    currency=st.sampled_from(Currency),
    rank=st.sampled_from(Rank),
    rights=st.sampled_from([Rights(0), Rights.READ, Rights.WRITE, Rights.READ | Rights.WRITE]),
    size=st.sampled_from(["small", "large"]),
    step=st.sampled_from([1, 2, 3]),
    nothing=st.none(),
    fixed=st.tuples(ints, texts, decimals),
    moments=tuples(moments),
    listed=st.lists(floats, max_size=3),
    sequence=tuples(st.dates()),
    unique=st.frozensets(decimals, max_size=3),
    mutable=st.sets(texts, max_size=3),
    abstract=st.frozensets(st.uuids(), max_size=3),
    nested_sets=st.frozensets(st.frozensets(ints, max_size=3), max_size=3),
    by_name=st.dictionaries(texts, decimals, max_size=3),
    by_day=st.dictionaries(st.dates(), tuples(ints), max_size=3),
    by_colour=st.dictionaries(st.sampled_from(Colour), st.dictionaries(texts, floats, max_size=2), max_size=2),
    optional=st.none() | decimals,
    several=st.none() | ints | texts | st.booleans() | tuples(ints),
    card=cards,
    card_or_none=st.none() | cards,
    payment=payments,
    payments=tuples(st.none() | payments),
    account=texts,
    noted=decimals,
    tally=tallies,
    pair=st.tuples(ints, ints),
    maybe_tally=st.none() | tallies,
    box=st.builds(Box, decimals, tuples(decimals)),
    box_or_card=st.builds(Box, st.dates(), tuples(st.dates())) | cards,
    int_box=st.builds(IntBox, ints, tuples(ints), texts),
    tree=trees,
    money=money,
    money_or_none=st.none() | money,
    private=ints,
    kept=texts,
)
