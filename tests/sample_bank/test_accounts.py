"""What an account accepts, and what it refuses."""

from __future__ import annotations

import pytest

from framework.testing import given
from sample_bank.accounts import (
    LARGEST_AMOUNT,
    Account,
    AccountClosed,
    AccountCommand,
    AccountIsClosed,
    AccountNotEmpty,
    AccountNotOpen,
    AccountOpened,
    CloseAccount,
    DepositMoney,
    InsufficientFunds,
    InvalidAmount,
    InvalidTransfer,
    MoneyDeposited,
    MoneyReturned,
    MoneySent,
    MoneyWithdrawn,
    OpenAccount,
    ReturnMoney,
    SendMoney,
    WithdrawMoney,
)

OPENED = AccountOpened("a")
FUNDED = MoneyDeposited("a", 100, balance=100)
EMPTIED = MoneyWithdrawn("a", 100, balance=0)
CLOSED = AccountClosed("a")


def test_an_account_is_opened() -> None:
    given(Account).when(OpenAccount("a")).then(OPENED)


def test_opening_twice_changes_nothing() -> None:
    given(Account, OPENED).when(OpenAccount("a")).then()


def test_what_was_closed_is_not_opened_again() -> None:
    given(Account, OPENED, CLOSED).when(OpenAccount("a")).then_raises(AccountIsClosed, "a")


@pytest.mark.parametrize(
    "command",
    [
        DepositMoney("a", 1),
        WithdrawMoney("a", 1),
        SendMoney("a", 1, "b", "t"),
        ReturnMoney("a", 1, "t"),
        CloseAccount("a"),
    ],
)
def test_nothing_happens_on_an_account_nobody_opened(command: AccountCommand) -> None:
    given(Account).when(command).then_raises(AccountNotOpen, "a")


def test_a_deposit_adds_to_the_balance() -> None:
    given(Account, OPENED, FUNDED).when(DepositMoney("a", 5)).then(MoneyDeposited("a", 5, balance=105))


def test_a_deposit_by_transfer_names_it() -> None:
    given(Account, OPENED).when(DepositMoney("a", 5, "t")).then(MoneyDeposited("a", 5, 5, transfer_id="t"))


def test_a_withdrawal_takes_from_the_balance() -> None:
    given(Account, OPENED, FUNDED).when(WithdrawMoney("a", 100)).then(EMPTIED)


def test_a_withdrawal_above_the_balance_is_refused() -> None:
    given(Account, OPENED, FUNDED).when(WithdrawMoney("a", 101)).then_raises(InsufficientFunds, "101 exceeds 100")


def test_sending_takes_from_the_balance() -> None:
    (
        given(Account, OPENED, FUNDED)
        .when(SendMoney("a", 30, "b", "t"))
        .then(MoneySent("a", 30, balance=70, target_id="b", transfer_id="t"))
    )


def test_sending_more_than_the_balance_is_refused() -> None:
    given(Account, OPENED, FUNDED).when(SendMoney("a", 101, "b", "t")).then_raises(InsufficientFunds)


def test_what_comes_back_adds_to_the_balance() -> None:
    (
        given(Account, OPENED, FUNDED, MoneySent("a", 30, 70, "b", "t"))
        .when(ReturnMoney("a", 30, "t"))
        .then(MoneyReturned("a", 30, balance=100, transfer_id="t"))
    )


@pytest.mark.parametrize("amount", [0, -1, LARGEST_AMOUNT + 1])
@pytest.mark.parametrize("kind", [DepositMoney, WithdrawMoney])
def test_an_amount_that_is_none_is_refused(kind: type[DepositMoney | WithdrawMoney], amount: int) -> None:
    given(Account, OPENED, FUNDED).when(kind("a", amount)).then_raises(InvalidAmount)


def test_sending_nothing_is_refused() -> None:
    given(Account, OPENED, FUNDED).when(SendMoney("a", 0, "b", "t")).then_raises(InvalidAmount)


@pytest.mark.parametrize("useless", ["", "x" * 101])
def test_a_transfer_without_a_usable_id_or_target_is_refused(useless: str) -> None:
    account = given(Account, OPENED, FUNDED)

    account.when(SendMoney("a", 1, "b", transfer_id=useless)).then_raises(InvalidTransfer)
    account.when(SendMoney("a", 1, target_id=useless, transfer_id="t")).then_raises(InvalidTransfer)


def test_an_empty_account_is_closed() -> None:
    given(Account, OPENED, FUNDED, EMPTIED).when(CloseAccount("a")).then(CLOSED)


def test_an_account_with_money_is_not_closed() -> None:
    given(Account, OPENED, FUNDED).when(CloseAccount("a")).then_raises(AccountNotEmpty, "a still holds 100")


def test_closing_twice_changes_nothing() -> None:
    given(Account, OPENED, CLOSED).when(CloseAccount("a")).then()


@pytest.mark.parametrize("command", [DepositMoney("a", 1), SendMoney("a", 1, "b", "t")])
def test_a_closed_account_takes_and_sends_nothing(command: AccountCommand) -> None:
    given(Account, OPENED, CLOSED).when(command).then_raises(AccountIsClosed, "a")


def test_what_comes_back_to_a_closed_account_can_be_withdrawn() -> None:
    closed = given(Account, OPENED, FUNDED, MoneySent("a", 100, 0, "b", "t"), CLOSED)
    closed.when(ReturnMoney("a", 100, "t")).then(MoneyReturned("a", 100, balance=100, transfer_id="t"))

    given(Account, OPENED, CLOSED, MoneyReturned("a", 100, 100, "t")).when(WithdrawMoney("a", 100)).then(EMPTIED)


def test_the_state_after_a_life() -> None:
    given(Account, OPENED, FUNDED, EMPTIED).when(CloseAccount("a")).then_state(Account(balance=0, is_closed=True))
