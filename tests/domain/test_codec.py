"""What the codec holds comes back equal; what would not is refused, by a sentence that says where it is."""

from __future__ import annotations

import asyncio
import enum
import json
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given, settings
from typing_extensions import TypeAliasType

from framework.codec import Codec
from framework.errors import UndecodablePayload, UnencodableValue, UnsupportedType
from framework.messages import Metadata
from tests.domain.values import (
    Box,
    Card,
    Cash,
    Colour,
    Currency,
    Everything,
    IntBox,
    Money,
    Rank,
    Tree,
    codec,
    everything,
    holder,
)

T = TypeVar("T")

BERLIN = ZoneInfo("Europe/Berlin")


def there_and_back(value: Any, declared: Any, known: Codec | None = None) -> Any:
    cls = holder(declared)
    known = known or Codec()
    return known.decode(cls, known.encode(cls(value))).it


# What is held --------------------------------------------------------------------------------------


@given(everything)
@settings(deadline=None)
def test_what_comes_back_is_equal(event: Everything) -> None:
    known = codec()

    assert known.decode(Everything, known.encode(event)) == event


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (1.0, float),
        (5e-324, float),
        (1.7976931348623157e308, float),
        (2**64, int),
        (-(2**4_095), int),
        (Decimal("1E+999999"), Decimal),
        (Decimal("1.10"), Decimal),
        (timedelta.min, timedelta),
        (timedelta.max, timedelta),
        (timedelta(microseconds=-1), timedelta),
        (datetime.max.replace(tzinfo=UTC), datetime),
        (datetime.min.replace(tzinfo=UTC), datetime),
        (time.max, time),
        (date.min, date),
        (Currency.EUR, Currency),
        (Rank.HIGH, Rank),
        (Rank.HIGH, Rank | str),
        ((), tuple[()]),
        ({"": 1}, Mapping[str, int]),
    ],
)
def test_the_edges_come_back_as_what_they_were(value: object, declared: object) -> None:
    back = there_and_back(value, declared)

    assert (type(back), back) == (type(value), value)
    assert str(back) == str(value)


def test_zero_has_no_sign_in_postgresql_and_so_it_has_none_here() -> None:
    assert str(there_and_back(-0.0, float)) == "0.0"


@pytest.mark.parametrize("document", [b'{"it":10000000000000000000000}', b'{"it":1e22}', b'{"it":1.0e22}'])
def test_a_float_is_one_however_postgresql_writes_it(document: bytes) -> None:
    back = Codec().decode(holder(float), document).it

    assert (type(back), back) == (float, 1e22)


def test_equal_mappings_and_sets_are_one_document() -> None:
    one, other = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    cls = holder(Mapping[str, int])
    sets = holder(frozenset[str])

    assert Codec().encode(cls(one)) == Codec().encode(cls(other)) == b'{"it":{"a":1,"b":2}}'
    assert Codec().encode(sets(frozenset("cab"))) == b'{"it":["a","b","c"]}'


def test_an_id_that_asyncpg_answered_with_is_an_id() -> None:
    class AsyncpgUUID(UUID):
        """As asyncpg's is: a subclass, equal to what it stands for."""

    value = AsyncpgUUID(int=7)

    assert there_and_back(value, UUID) == value


# Moments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", [0, 1])
def test_a_moment_of_an_hour_that_the_clocks_show_twice_is_the_same_one(fold: int) -> None:
    moment = datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=fold)

    back = there_and_back(moment, datetime)

    assert back == moment
    assert back.timestamp() == moment.timestamp()


def test_a_moment_keeps_its_zone_by_which_days_are_added_to_it() -> None:
    moment = datetime(2024, 3, 30, 12, tzinfo=BERLIN)

    back = there_and_back(moment, datetime)

    assert (back + timedelta(days=1)).timestamp() == (moment + timedelta(days=1)).timestamp()


class Sidereal(tzinfo):
    """A zone of one's own."""

    def utcoffset(self, moment: datetime | None, /) -> timedelta:
        return timedelta(minutes=4)

    def dst(self, moment: datetime | None, /) -> timedelta:
        return timedelta(0)

    def tzname(self, moment: datetime | None, /) -> str:
        return "Sidereal"


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN),
        datetime(2024, 3, 31, 2, 30, tzinfo=Sidereal()),
        datetime(2024, 3, 31, 2, 30, tzinfo=timezone(timedelta(microseconds=1))),
        datetime(2024, 3, 31, 2, 30),  # noqa: DTZ001 - that is what is refused
    ],
    ids=["an hour that never was", "a zone of one's own", "a strange offset", "no zone"],
)
def test_a_moment_that_would_come_back_as_another_is_refused(moment: datetime) -> None:
    with pytest.raises(UnencodableValue, match=r"Held\.it: .* is not a (moment|datetime)"):
        Codec().encode(holder(datetime)(moment))


def test_a_moment_without_a_zone_is_not_read_either() -> None:
    with pytest.raises(UndecodablePayload, match="time zone"):
        Codec().decode(holder(datetime), b'{"it":"2024-03-31T02:30:00"}')


def test_a_zone_that_is_not_known_here_is_named() -> None:
    with pytest.raises(UndecodablePayload, match="Mars/Olympus"):
        Codec().decode(holder(datetime), b'{"it":"2024-03-31T02:30:00+00:00[Mars/Olympus]"}')


# Values that do not fit ----------------------------------------------------------------------------


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Cents(Decimal):
    pass


@attrs.frozen
class BankCard(Card):
    bank: str = ""


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (float("nan"), float),
        (float("inf"), float),
        (float("-inf"), float),
        (1, float),
        (True, int),
        (1.0, int),
        (2**4_096, int),
        (1, bool),
        (Decimal("NaN"), Decimal),
        (Decimal("Infinity"), Decimal),
        (1, Decimal),
        (1, str),
        (b"text", str),
        ("a\0b", str),
        ("a\ud800b", str),
        ("text", bytes),
        (None, str),
        ("", type(None)),
        ("7", UUID),
        (datetime(2024, 1, 1, tzinfo=UTC), date),
        (date(2024, 1, 1), datetime),
        (time(12, tzinfo=UTC), time),
        (12, timedelta),
        ("red", Colour),
        ("EUR", Currency),
        (Rank.LOW, int),
        (Currency.EUR, str),
        ("huge", Literal["small"]),
        (True, Literal[1, 2]),
        ([1], tuple[int, ...]),
        ((1,), list[int]),
        ((1, 2), tuple[int]),
        ((1, "2"), tuple[int, ...]),
        ([1], Sequence[int]),
        ({1}, frozenset[int]),
        (frozenset({1}), set[int]),
        ({1: 1}, Mapping[str, int]),
        ({"a\0": 1}, Mapping[str, int]),
        ({"a": "1"}, Mapping[str, int]),
        (OrderedDict(a=1), Mapping[str, int]),
        (defaultdict(int, a=1), dict[str, int]),
        (1.5, int | str),
        (Text("a"), str),
        (Whole(1), int),
        (Cents("1.5"), Decimal),
        (BankCard(1), Card),
        (BankCard(1), Cash | Card),
        (BankCard(1), Card | None),
        (Cash(1), Card),
        ("Cash", Cash | Card),
        (Box("text"), Box[int]),
        (Box(1, ("more",)), Box[int]),
        (Tree("a", branches=(Tree("b", branches=[Tree("c")]),)), Tree),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ],
)
def test_a_value_that_would_come_back_as_another_is_refused(value: object, declared: object) -> None:
    with pytest.raises(UnencodableValue, match=r"^Held\.it"):
        Codec().encode(holder(declared)(value))


def test_a_refusal_names_the_field_however_deep_it_lies() -> None:
    with pytest.raises(UnencodableValue, match=r"^Held\.it\.holder: 7 is not str \| None$"):
        Codec().encode(holder(Card)(Card(1, 7)))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnencodableValue, match=r"^Held\.it: 'x' is not an int"):
        Codec().encode(holder(Box[int])(Box("x")))
    with pytest.raises(UnencodableValue, match=r"^Held\.it\[1\]\.a: PostgreSQL holds no text with NUL$"):
        Codec().encode(holder(tuple[Mapping[str, str], ...])(({"a": ""}, {"a": "\0"})))


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert there_and_back("\\u0000", str) == "\\u0000"


def test_what_holds_itself_without_end_is_refused() -> None:
    tree = Tree("leaf")
    for _ in range(5_000):
        tree = Tree("", tree)

    with pytest.raises(UnencodableValue, match="nested too deeply"):
        Codec().encode(tree)


# Classes that make something else of what they are given ----------------------------------------------


def doubled(amount: int) -> int:
    return amount * 2


@attrs.frozen
class Doubled:
    amount: int = attrs.field(converter=doubled)


@attrs.define
class Counted:
    count: int

    def __attrs_post_init__(self) -> None:
        self.count += 1


@attrs.frozen
class Handmade:
    amount: int

    def __init__(self, euros: int) -> None:
        self.__attrs_init__(euros * 100)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType]


@pytest.mark.parametrize("value", [Doubled(1), Counted(1), Handmade(1)])
def test_what_its_own_class_would_change_when_it_is_read_is_refused(value: object) -> None:
    with pytest.raises(UnencodableValue, match=type(value).__name__):
        Codec().encode(value)


# Types that are not held ---------------------------------------------------------------------------


Objects = TypeAliasType("Objects", list[object])


class Dated(NamedTuple):
    at: date


class Named(TypedDict):
    name: str


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


class Empty(enum.Enum):
    pass


@pytest.mark.parametrize(
    "declared",
    [
        Any,
        object,
        asyncio.Lock,
        complex,
        Path,
        type[int],
        Callable[[], int],
        deque[int],
        Dated,
        Named,
        Mixed,
        Empty,
        Literal[1, "a"],
        Literal[True],
        tuple,
        list,
        dict,
        tuple[object, ...],
        list[asyncio.Lock],
        Mapping[str, object],
        Mapping[int, str],
        Mapping[str | None, str],
        Mapping[Cash, str],
        datetime | str,
        int | float,
        tuple[int, ...] | list[int],
        Cash | Mapping[str, int],
        Money | None,
        TypeVar("T"),
        Box,
        Box[int] | Box[str],
        Objects,
        NewType("New", asyncio.Lock),
    ],
)
def test_a_type_that_is_not_held_is_refused_by_name_and_place(declared: object) -> None:
    with pytest.raises(UnsupportedType, match=r"^Held\.it"):
        Codec().check(holder(declared))


def test_a_type_deep_inside_is_found_and_the_remedy_named() -> None:
    @attrs.frozen
    class Inner:
        locks: tuple[asyncio.Lock, ...]

    with pytest.raises(UnsupportedType) as refused:
        Codec().check(holder(Mapping[str, Inner | None]))

    assert str(refused.value).startswith("Held.it[].locks[]: <class 'asyncio.locks.Lock'> is not a type")
    assert str(refused.value).endswith("register it with codec.register")


@attrs.frozen
class Chicken:
    egg: Egg | None
    lock: asyncio.Lock


@attrs.frozen
class Egg:
    chicken: Chicken | None


def test_classes_that_hold_each_other_are_refused_each_time_they_are_asked_for() -> None:
    known = Codec()

    for cls in (Chicken, Egg, Chicken, Egg):
        with pytest.raises(UnsupportedType, match="lock"):
            known.check(cls)


@attrs.frozen
class Twice(Box[int], Generic[T]):
    own: T | None = None


def test_one_type_variable_that_means_two_things_is_refused() -> None:
    with pytest.raises(UnsupportedType, match="two meanings"):
        Codec().check(holder(Twice[str]))


def test_a_field_without_a_type_and_one_that_cannot_be_given_are_refused() -> None:
    untyped = attrs.make_class("Untyped", {"it": attrs.field()}, frozen=True)
    computed = attrs.make_class("Computed", {"it": attrs.field(init=False, default=1, type=int)}, frozen=True)

    with pytest.raises(UnsupportedType, match=r"^Untyped\.it: has no annotation"):
        Codec().check(untyped)
    with pytest.raises(UnsupportedType, match=r"^Computed\.it: is not set by __init__"):
        Codec().check(computed)


def test_a_name_that_cannot_be_resolved_is_told() -> None:
    with pytest.raises(UnsupportedType, match="'Nowhere' is not defined"):
        Codec().check(holder("Nowhere"))


def test_what_is_no_attrs_class_is_refused() -> None:
    with pytest.raises(UnsupportedType, match=r"^str is not an attrs class$"):
        Codec().check(str)


# Types of one's own --------------------------------------------------------------------------------


@attrs.frozen
class Purse:
    money: Money | None


def test_a_registered_type_is_held_also_where_it_may_be_missing() -> None:
    known = codec()
    purse = Purse(Money(Decimal("1.50"), "EUR"))

    assert known.encode(purse) == b'{"money":["1.50","EUR"]}'
    assert known.decode(Purse, known.encode(purse)) == purse
    assert known.decode(Purse, known.encode(Purse(None))) == Purse(None)


def test_registering_anew_holds_for_classes_that_were_in_use() -> None:
    known = codec()
    known.encode(Purse(None))

    known.register(Money, lambda money: money.currency, lambda document: Money(Decimal(0), document))

    assert known.encode(Purse(Money(Decimal(0), "EUR"))) == b'{"money":"EUR"}'


@pytest.mark.parametrize("document", [float("nan"), None, ("a",), {1: 2}, [2.0**60], datetime.now(UTC), "\0", "\ud800"])
def test_what_a_registered_type_makes_that_json_does_not_give_back_is_refused(document: object) -> None:
    known = Codec()
    known.register(Money, lambda _: document, Money.decode)

    with pytest.raises(UnencodableValue, match=r"^Purse\.money"):
        known.encode(Purse(Money(Decimal(1), "EUR")))


def test_an_error_of_what_is_registered_is_told_with_its_place() -> None:
    known = Codec()
    known.register(Money, lambda money: vars(money)["cents"], lambda document: document["currency"])

    with pytest.raises(UnencodableValue, match=r"^Purse\.money: 'cents'"):
        known.encode(Purse(Money(Decimal(1), "EUR")))
    with pytest.raises(UnencodableValue, match=r"^Purse\.money: 5 is not .*Money"):
        known.encode(Purse(5))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(UndecodablePayload, match=r"Purse: .*currency"):
        known.decode(Purse, b'{"money":{}}')


# Reading what is there -----------------------------------------------------------------------------


def test_a_missing_field_takes_its_default_and_an_unknown_one_is_passed_over() -> None:
    assert Codec().decode(Card, b'{"amount":1,"pin":1234}') == Card(1, None)
    assert Codec().decode(IntBox, b'{"content":1}') == IntBox(1)


@pytest.mark.parametrize(
    ("cls", "document", "fault"),
    [
        (Card, b"{", "Card: the payload is not JSON"),
        (Card, b"[]", "Card: "),
        (Card, b"null", "Card: "),
        (Card, b'{"holder":null}', "Card: required field missing @ \\$.amount"),
        (Card, b'{"amount":"1"}', "Card: .*'1' is not int.* @ \\$.amount"),
        (Card, b'{"amount":true}', "Card: .*True is not int.* @ \\$.amount"),
        (holder(Colour), b'{"it":"blue"}', "Held: .*expected Colour @ \\$.it"),
        (holder(Decimal), b'{"it":"one"}', "Held: .*'one' is not a decimal number.* @ \\$.it"),
        (holder(Decimal), b'{"it":1.5}', "Held: .*1.5 is not str.* @ \\$.it"),
        (holder(bytes), b'{"it":"%"}', "Held: .* @ \\$.it"),
        (holder(timedelta), b'{"it":"1"}', "Held: .*'1' is not a duration.* @ \\$.it"),
        (holder(UUID), b'{"it":"1"}', "Held: .* @ \\$.it"),
        (holder(Literal["a"]), b'{"it":"b"}', "Held: .*'b' is not one of 'a'.* @ \\$.it"),
        (holder(tuple[int, str]), b'{"it":[1]}', "Held: .* @ \\$.it"),
        (holder(tuple[int, ...]), b'{"it":{}}', "Held: .*{} is not list.* @ \\$.it"),
        (holder(Mapping[str, int]), b'{"it":[]}', "Held: .* is not dict.* @ \\$.it"),
        (holder(Cash | Card), b'{"it":{"amount":1}}', "Held: .*None is not one of Cash, Card.* @ \\$.it"),
        (holder(Cash | Card), b'{"it":{"$type":"builtins.eval"}}', "Held: .*'builtins.eval' is not one of Cash, Card"),
        (holder(int | str), b'{"it":1.5}', "Held: .*1.5 is not .* @ \\$.it"),
    ],
)
def test_a_payload_that_does_not_fit_is_named_with_its_fault(cls: type[Any], document: bytes, fault: str) -> None:
    with pytest.raises(UndecodablePayload, match=fault):
        Codec().decode(cls, document)


# Metadata ------------------------------------------------------------------------------------------


def test_metadata_comes_back_equal() -> None:
    metadata: Metadata = {"who": "me", "at": 1.5, "big": 2**70, "list": [None, True, {"a": []}]}

    assert Codec().decode_metadata(Codec().encode_metadata(metadata)) == metadata


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        1e23,
        (1,),
        {1: 2},
        {1},
        Decimal(1),
        Currency.EUR,
        Rank.LOW,
        "\0",
        {"\0": 1},
        "\ud800",
    ],
)
def test_metadata_that_would_come_back_otherwise_is_refused(value: object) -> None:
    with pytest.raises(UnencodableValue, match="metadata"):
        Codec().encode_metadata({"key": value})


def test_a_document_is_what_any_reader_of_json_reads() -> None:
    document = Codec().encode(holder(tuple[Cash | Card, ...])((Cash(1), Card(2, "me"))))

    assert json.loads(document) == {
        "it": [{"$type": "Cash", "amount": 1}, {"$type": "Card", "amount": 2, "holder": "me"}]
    }


def test_an_offset_is_written_as_any_reader_expects_it() -> None:
    moment = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))

    assert Codec().encode(holder(datetime)(moment)) == b'{"it":"2024-01-01T00:00:00+01:00"}'
