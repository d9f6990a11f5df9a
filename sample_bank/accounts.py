"""An account: money comes in, goes out, is sent, is offered first where that is asked for, and comes back unwanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Self, TypeAlias, assert_never

import attrs

from framework import Aggregate, CommandRejected

LARGEST_AMOUNT = 10**12
"""Of one movement; a balance would need millions of these before a bigint could not hold it."""

LONGEST_ID = 100
"""Characters in the id of an account or a transfer."""


# Commands ------------------------------------------------------------------------------------------


@attrs.frozen
class OpenAccount:
    account_id: str


@attrs.frozen
class DepositMoney:
    account_id: str
    amount: int
    transfer_id: str | None = None
    """The transfer that the money arrives by; None for cash paid in."""


@attrs.frozen
class WithdrawMoney:
    account_id: str
    amount: int


@attrs.frozen
class SendMoney:
    account_id: str
    amount: int
    target_id: str
    transfer_id: str


@attrs.frozen
class ReturnMoney:
    """Give back what was sent and not accepted."""

    account_id: str
    amount: int
    transfer_id: str


@attrs.frozen
class AskFirst:
    """Have transfers offered from now on, and not deposited; what is not accepted within that time goes back."""

    account_id: str
    within: timedelta


@attrs.frozen
class AcceptTransfer:
    account_id: str
    transfer_id: str


@attrs.frozen
class DeclineTransfer:
    """Have what is offered go back; nothing happens where nothing is offered, any more or ever."""

    account_id: str
    transfer_id: str


@attrs.frozen
class CloseAccount:
    account_id: str


# Events --------------------------------------------------------------------------------------------
#
# Each carries what moved and the balance after it, so that nobody who reads it has to add anything up.


@attrs.frozen
class AccountOpened:
    account_id: str


@attrs.frozen
class MoneyDeposited:
    account_id: str
    amount: int
    balance: int
    transfer_id: str | None = None


@attrs.frozen
class MoneyWithdrawn:
    account_id: str
    amount: int
    balance: int


@attrs.frozen
class MoneySent:
    account_id: str
    amount: int
    balance: int
    target_id: str
    transfer_id: str


@attrs.frozen
class MoneyReturned:
    account_id: str
    amount: int
    balance: int
    transfer_id: str


@attrs.frozen
class AskingBegun:
    account_id: str
    within: timedelta


@attrs.frozen
class MoneyOffered:
    """It has come in and is not the account's yet."""

    account_id: str
    amount: int
    transfer_id: str
    within: timedelta


@attrs.frozen
class TransferDeclined:
    """What was offered is not wanted, or nobody said so in time."""

    account_id: str
    amount: int
    transfer_id: str


@attrs.frozen
class AccountClosed:
    account_id: str


# Refusals ------------------------------------------------------------------------------------------


class AccountNotOpen(CommandRejected):
    """Nobody opened this account."""


class AccountIsClosed(CommandRejected):
    """The account was closed, for good."""


class AccountNotEmpty(CommandRejected):
    """Only an account without money can be closed."""

    def __init__(self, account_id: str, balance: int) -> None:
        self.account_id = account_id
        self.balance = balance
        super().__init__(f"{account_id} still holds {balance}")


class InsufficientFunds(CommandRejected):
    """The balance does not cover the amount."""

    def __init__(self, amount: int, balance: int) -> None:
        self.amount = amount
        self.balance = balance
        super().__init__(f"{amount} exceeds {balance}")


class InvalidAmount(CommandRejected):
    """The amount is not one that can be moved."""

    def __init__(self, amount: int) -> None:
        self.amount = amount
        super().__init__(f"{amount} is not between 1 and {LARGEST_AMOUNT}")


class InvalidTransfer(CommandRejected):
    """The transfer could not be carried through, because it or its target has no usable id."""


class TransferNotOffered(CommandRejected):
    """There is nothing to accept: it was accepted, or has gone back, or never came."""


class TransferOffered(CommandRejected):
    """A transfer of this id is offered already."""


# The account ---------------------------------------------------------------------------------------

AccountCommand: TypeAlias = (
    OpenAccount
    | DepositMoney
    | WithdrawMoney
    | SendMoney
    | ReturnMoney
    | AskFirst
    | AcceptTransfer
    | DeclineTransfer
    | CloseAccount
)
AccountEvent: TypeAlias = (
    AccountOpened
    | MoneyDeposited
    | MoneyWithdrawn
    | MoneySent
    | MoneyReturned
    | AskingBegun
    | MoneyOffered
    | TransferDeclined
    | AccountClosed
)


@attrs.frozen
class Account(Aggregate[AccountCommand, AccountEvent]):
    """What has become of one account.

    One that is closed takes no deposits and sends nothing. What it sent before may still come back to it, though, and
    can then be withdrawn: a return that could be refused would leave money nowhere. So would an offer that could not be
    declined.
    """

    balance: int = 0
    is_open: bool = False
    is_closed: bool = False
    asks_within: timedelta | None = None
    """How long an offer stands; None where nobody is asked."""
    offers: Mapping[str, int] = attrs.field(factory=dict[str, int])
    """What is offered, by transfer."""

    def execute(self, command: AccountCommand) -> Iterator[AccountEvent]:  # noqa: C901, PLR0912 - a table, read row by row
        match command:
            case OpenAccount(account_id) if self.is_closed:
                raise AccountIsClosed(account_id)
            case OpenAccount(account_id):
                if not self.is_open:
                    yield AccountOpened(account_id)
            case _ if not self.is_open and not self.is_closed:
                raise AccountNotOpen(command.account_id)
            case DepositMoney() | WithdrawMoney() | SendMoney() if not 0 < command.amount <= LARGEST_AMOUNT:
                raise InvalidAmount(command.amount)
            case DepositMoney() | SendMoney() | AskFirst() | AcceptTransfer() if self.is_closed:
                raise AccountIsClosed(command.account_id)
            case WithdrawMoney(amount=amount) | SendMoney(amount=amount) if amount > self.balance:
                raise InsufficientFunds(amount, self.balance)
            case DepositMoney(account_id, amount, str(transfer_id)) if self.asks_within is not None:
                if transfer_id in self.offers:
                    raise TransferOffered(transfer_id)
                yield MoneyOffered(account_id, amount, transfer_id, self.asks_within)
            case DepositMoney(account_id, amount, transfer_id):
                yield MoneyDeposited(account_id, amount, self.balance + amount, transfer_id)
            case WithdrawMoney(account_id, amount):
                yield MoneyWithdrawn(account_id, amount, self.balance - amount)
            case SendMoney(account_id, amount, target_id, transfer_id):
                # Refused now, by the sender: later there is nobody left who could.
                _check_id("transfer", transfer_id)
                _check_id("target", target_id)
                yield MoneySent(account_id, amount, self.balance - amount, target_id, transfer_id)
            case ReturnMoney(account_id, amount, transfer_id):
                yield MoneyReturned(account_id, amount, self.balance + amount, transfer_id)
            case AskFirst(account_id, within):
                if within != self.asks_within:
                    yield AskingBegun(account_id, within)
            case AcceptTransfer(account_id, transfer_id):
                if transfer_id not in self.offers:
                    raise TransferNotOffered(transfer_id)
                amount = self.offers[transfer_id]
                yield MoneyDeposited(account_id, amount, self.balance + amount, transfer_id)
            case DeclineTransfer(account_id, transfer_id):
                if transfer_id in self.offers:
                    yield TransferDeclined(account_id, self.offers[transfer_id], transfer_id)
            case CloseAccount(account_id) if self.is_open:
                if self.balance:
                    raise AccountNotEmpty(account_id, self.balance)
                yield AccountClosed(account_id)
            case CloseAccount():
                pass
            case _:
                assert_never(command)

    def apply(self, event: AccountEvent) -> Self:  # noqa: PLR0911 - the same
        match event:
            case AccountOpened():
                return attrs.evolve(self, is_open=True)
            case MoneyDeposited(balance=balance, transfer_id=str(transfer_id)):
                return attrs.evolve(self, balance=balance, offers=_without(self.offers, transfer_id))
            case MoneyDeposited() | MoneyWithdrawn() | MoneySent() | MoneyReturned():
                return attrs.evolve(self, balance=event.balance)
            case AskingBegun(within=within):
                return attrs.evolve(self, asks_within=within)
            case MoneyOffered(amount=amount, transfer_id=transfer_id):
                return attrs.evolve(self, offers={**self.offers, transfer_id: amount})
            case TransferDeclined(transfer_id=transfer_id):
                return attrs.evolve(self, offers=_without(self.offers, transfer_id))
            case AccountClosed():
                return attrs.evolve(self, is_open=False, is_closed=True)
            case _:
                assert_never(event)


def _without(offers: Mapping[str, int], transfer_id: str) -> Mapping[str, int]:
    return {offered: amount for offered, amount in offers.items() if offered != transfer_id}


def _check_id(what: str, value: str) -> None:
    if not 0 < len(value) <= LONGEST_ID:
        message = f"the {what} {value!r} has not between 1 and {LONGEST_ID} characters"
        raise InvalidTransfer(message)
