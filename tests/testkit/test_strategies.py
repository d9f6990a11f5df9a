"""What is drawn for a type is what the codec can hold, and all of that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from framework.testing.strategies import commands_of, events_of, from_type
from sample_bank.accounts import Account as BankAccount
from tests.domain.values import Card, Cash, Everything, Money, Tree, codec, money
from tests.typing.test_listing import Account, AccountOpened, DepositMoney, MoneyDeposited, MoneySent

st.register_type_strategy(Money, money)

FEW = settings(max_examples=50, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
ENOUGH = settings(max_examples=500, deadline=None, database=None)


def is_even(_: object, __: object, number: int) -> None:
    if number % 2:
        message = f"{number} is odd"
        raise ValueError(message)


@attrs.frozen
class Even:
    number: int = attrs.field(validator=is_even)


@given(from_type(Everything))
@FEW
def test_whatever_is_drawn_comes_back_from_the_codec(value: Everything) -> None:
    known = codec()

    assert known.decode(Everything, known.encode(value)) == value


@given(events_of(BankAccount))
@FEW
def test_events_of_the_bank_come_back_from_the_codec(event: object) -> None:
    known = codec()

    assert known.decode(type(event), known.encode(event)) == event


@pytest.mark.parametrize("event", [AccountOpened, MoneyDeposited, MoneySent])
def test_each_event_of_an_aggregate_is_drawn(event: type) -> None:
    assert type(find(events_of(Account), lambda drawn: type(drawn) is event, settings=ENOUGH)) is event


@given(commands_of(Account, account_id=st.sampled_from("ab"), amount=st.integers(1, 9)))
@FEW
def test_a_field_is_drawn_as_it_is_told(command: Any) -> None:
    assert command.account_id in {"a", "b"}
    assert 1 <= getattr(command, "amount", 1) <= 9


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: commands_of(Account, acount_id=st.none()), "SendMoney has a field acount_id"),
        (lambda: from_type(Card, no=st.none()), "Card has no field no"),
    ],
)
def test_a_field_that_nothing_has_is_named(draw: Callable[[], SearchStrategy[object]], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        draw()


def test_a_type_that_holds_itself_is_drawn_deep() -> None:
    any_will_do = settings(ENOUGH, phases=[Phase.generate])  # to make it small takes far longer than to find it

    deep = find(
        from_type(Tree), lambda tree: tree.left is not None and tree.left.left is not None, settings=any_will_do
    )

    assert deep.left is not None


@pytest.mark.parametrize("member", [Cash, Card, type(None)])
def test_each_member_of_a_union_is_drawn(member: type) -> None:
    @attrs.frozen
    class Paid:
        by: Cash | Card | None

    paid = find(from_type(Paid), lambda paid: type(paid.by) is member, settings=ENOUGH)

    assert isinstance(paid.by, member)


@pytest.mark.parametrize("is_utc", [True, False])
def test_moments_are_drawn_in_utc_and_elsewhere(is_utc: bool) -> None:
    moment = find(from_type(datetime), lambda each: (str(each.tzinfo) == "UTC") is is_utc, settings=ENOUGH)

    assert moment.tzinfo is not None


@given(from_type(Even))
@FEW
def test_what_a_validator_refuses_is_drawn_again(even: Even) -> None:
    assert even.number % 2 == 0


def test_a_field_that_may_be_left_out_is_drawn_with_and_without() -> None:
    deposits = from_type(DepositMoney, amount=st.just(1))

    assert find(deposits, lambda deposit: deposit.transfer_id is None, settings=ENOUGH).amount == 1
    assert find(deposits, lambda deposit: deposit.transfer_id is not None, settings=ENOUGH).amount == 1
