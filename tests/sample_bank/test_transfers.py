"""What the process of a transfer sends, event by event."""

from __future__ import annotations

from datetime import timedelta

import pytest

from framework import Schedule
from framework.testing import given
from sample_bank.accounts import (
    AccountIsClosed,
    AccountNotOpen,
    DeclineTransfer,
    DepositMoney,
    MoneyDeposited,
    MoneyOffered,
    MoneyReturned,
    MoneySent,
    ReturnMoney,
    TransferDeclined,
)
from sample_bank.transfers import CompleteTransfer, transfer_command_id

SENT = MoneySent("a", 30, 70, "b", "t")
DEPOSIT = DepositMoney("b", 30, "t")
DAY = timedelta(days=1)
OFFERED = MoneyOffered("b", 30, "t", DAY)


def test_a_sent_amount_is_deposited_at_the_target() -> None:
    given(CompleteTransfer).when(SENT).then(DEPOSIT)


def test_cash_is_nobodys_transfer() -> None:
    given(CompleteTransfer, SENT).when(MoneyDeposited("b", 30, 30)).then()


def test_a_refused_deposit_is_given_back_to_the_sender() -> None:
    (
        given(CompleteTransfer, SENT)
        .when_rejected(DEPOSIT, AccountIsClosed("b"), instance="t")
        .then(ReturnMoney("a", 30, "t"))
    )


def test_an_offer_has_a_deadline() -> None:
    transfer = given(CompleteTransfer, SENT)

    transfer.when(OFFERED).then_scheduled(Schedule(DeclineTransfer("b", "t"), after=DAY, key="deadline"))

    transfer.when_time_passes(DAY).then(DeclineTransfer("b", "t"))


def test_what_was_declined_is_given_back_to_the_sender() -> None:
    given(CompleteTransfer, SENT, OFFERED).when(TransferDeclined("b", 30, "t")).then(ReturnMoney("a", 30, "t"))


def test_what_was_accepted_has_no_deadline_any_more() -> None:
    given(CompleteTransfer, SENT, OFFERED, MoneyDeposited("b", 30, 30, "t")).when_time_passes(DAY).then()


def test_a_refused_return_is_not_passed_over() -> None:
    with pytest.raises(AccountNotOpen):
        given(CompleteTransfer, SENT).when_rejected(ReturnMoney("a", 30, "t"), AccountNotOpen("a"), instance="t")


@pytest.mark.parametrize("end", [MoneyDeposited("b", 30, 30, "t"), MoneyReturned("a", 30, 100, "t")])
def test_arrival_and_return_end_a_transfer(end: MoneyDeposited | MoneyReturned) -> None:
    ended = given(CompleteTransfer, SENT, end)

    with pytest.raises(AssertionError, match="there is no instance 't'"):
        ended.when_rejected(DEPOSIT, AccountIsClosed("b"), instance="t")


def test_a_transfer_has_one_command_id() -> None:
    assert transfer_command_id("t") == transfer_command_id("t")
    assert transfer_command_id("t") != transfer_command_id("u")
