"""An account: money comes in, goes out, is sent, and comes back when it was not wanted."""

from __future__ import annotations

from collections.abc import Iterator
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


# The account ---------------------------------------------------------------------------------------

AccountCommand: TypeAlias = OpenAccount | DepositMoney | WithdrawMoney | SendMoney | ReturnMoney | CloseAccount
AccountEvent: TypeAlias = AccountOpened | MoneyDeposited | MoneyWithdrawn | MoneySent | MoneyReturned | AccountClosed


@attrs.frozen
class Account(Aggregate[AccountCommand, AccountEvent]):
    """What has become of one account.

    One that is closed takes no deposits and sends nothing. What it sent before may still come back to it, though, and
    can then be withdrawn: a return that could be refused would leave money nowhere.
    """

    balance: int = 0
    is_open: bool = False
    is_closed: bool = False

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
            case DepositMoney(account_id) | SendMoney(account_id) if self.is_closed:
                raise AccountIsClosed(account_id)
            case WithdrawMoney(amount=amount) | SendMoney(amount=amount) if amount > self.balance:
                raise InsufficientFunds(amount, self.balance)
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
            case CloseAccount(account_id) if self.is_open:
                if self.balance:
                    raise AccountNotEmpty(account_id, self.balance)
                yield AccountClosed(account_id)
            case CloseAccount():
                pass
            case _:
                assert_never(command)

    def apply(self, event: AccountEvent) -> Self:
        match event:
            case AccountOpened():
                return attrs.evolve(self, is_open=True)
            case MoneyDeposited() | MoneyWithdrawn() | MoneySent() | MoneyReturned():
                return attrs.evolve(self, balance=event.balance)
            case AccountClosed():
                return attrs.evolve(self, is_open=False, is_closed=True)
            case _:
                assert_never(event)


def _check_id(what: str, value: str) -> None:
    if not 0 < len(value) <= LONGEST_ID:
        message = f"the {what} {value!r} has not between 1 and {LONGEST_ID} characters"
        raise InvalidTransfer(message)
