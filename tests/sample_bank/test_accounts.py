"""What an account accepts, and what it refuses."""

from __future__ import annotations

from datetime import timedelta

import pytest

from framework.testing import given
from sample_bank.accounts import (
    LARGEST_AMOUNT,
    AcceptTransfer,
    Account,
    AccountClosed,
    AccountCommand,
    AccountIsClosed,
    AccountNotEmpty,
    AccountNotOpen,
    AccountOpened,
    AskFirst,
    AskingBegun,
    CloseAccount,
    DeclineTransfer,
    DepositMoney,
    InsufficientFunds,
    InvalidAmount,
    InvalidTransfer,
    MoneyDeposited,
    MoneyOffered,
    MoneyReturned,
    MoneySent,
    MoneyWithdrawn,
    OpenAccount,
    ReturnMoney,
    SendMoney,
    TransferDeclined,
    TransferNotOffered,
    TransferOffered,
    WithdrawMoney,
)

OPENED = AccountOpened("a")
FUNDED = MoneyDeposited("a", 100, balance=100)
EMPTIED = MoneyWithdrawn("a", 100, balance=0)
CLOSED = AccountClosed("a")
DAY = timedelta(days=1)
ASKS = AskingBegun("a", DAY)
OFFERED = MoneyOffered("a", 30, "t", DAY)


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


def test_who_asks_first_is_offered_what_is_sent_and_paid_what_is_cash() -> None:
    given(Account, OPENED).when(AskFirst("a", DAY)).then(ASKS)
    given(Account, OPENED, ASKS).when(AskFirst("a", DAY)).then()
    given(Account, OPENED, ASKS).when(DepositMoney("a", 30, "t")).then(OFFERED)
    given(Account, OPENED, ASKS).when(DepositMoney("a", 30)).then(MoneyDeposited("a", 30, balance=30))


def test_what_is_offered_is_accepted_once() -> None:
    offered = given(Account, OPENED, ASKS, OFFERED)

    offered.when(AcceptTransfer("a", "t")).then(MoneyDeposited("a", 30, balance=30, transfer_id="t"))
    offered.having(AcceptTransfer("a", "t")).when(AcceptTransfer("a", "t")).then_raises(TransferNotOffered, "t")
    offered.having(AcceptTransfer("a", "t")).when(DeclineTransfer("a", "t")).then()


def test_what_is_declined_is_not_accepted_any_more() -> None:
    offered = given(Account, OPENED, ASKS, OFFERED)

    offered.when(DeclineTransfer("a", "t")).then(TransferDeclined("a", 30, "t"))
    offered.having(DeclineTransfer("a", "t")).when(AcceptTransfer("a", "t")).then_raises(TransferNotOffered, "t")


def test_a_transfer_is_offered_once_at_a_time() -> None:
    given(Account, OPENED, ASKS, OFFERED).when(DepositMoney("a", 5, "t")).then_raises(TransferOffered, "t")


def test_what_is_offered_is_declined_when_the_account_is_closed_too() -> None:
    closed = given(Account, OPENED, ASKS, OFFERED, CLOSED)

    closed.when(AcceptTransfer("a", "t")).then_raises(AccountIsClosed)
    closed.when(DeclineTransfer("a", "t")).then(TransferDeclined("a", 30, "t"))


def test_the_state_after_a_life() -> None:
    given(Account, OPENED, FUNDED, EMPTIED).when(CloseAccount("a")).then_state(Account(balance=0, is_closed=True))
