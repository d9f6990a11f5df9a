"""The domain of the benchmark: accounts whose events are about 150 bytes with an id, an amount, a time and a text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final, Self, assert_never
from uuid import UUID

import attrs

from framework import Aggregate, Application, Router, SnapshotEvery
from framework.clock import new_id, now
from framework.store.protocol import EventStore

REFERENCE: Final = "Rent for November, flat 12, with thanks"
HOLDER: Final = "Margarethe Oppenheimer-Lindqvist, Bergen"
AMOUNT: Final = 125


@attrs.frozen
class OpenAccount:
    account_id: str
    customer_id: UUID
    limit: int
    opened_at: datetime
    holder: str


@attrs.frozen
class DepositMoney:
    account_id: str
    payment_id: UUID
    amount: int
    paid_at: datetime
    reference: str


@attrs.frozen
class AccountOpened:
    customer_id: UUID
    limit: int
    opened_at: datetime
    holder: str


@attrs.frozen
class MoneyDeposited:
    payment_id: UUID
    amount: int
    paid_at: datetime
    reference: str


@attrs.frozen
class Account(Aggregate[OpenAccount | DepositMoney, AccountOpened | MoneyDeposited]):
    balance: int = 0
    is_open: bool = False

    def execute(self, command: OpenAccount | DepositMoney) -> Iterator[AccountOpened | MoneyDeposited]:
        match command:
            case OpenAccount(_, customer_id, limit, opened_at, holder):
                yield AccountOpened(customer_id, limit, opened_at, holder)
            case DepositMoney(_, payment_id, amount, paid_at, reference):
                yield MoneyDeposited(payment_id, amount, paid_at, reference)
            case _:
                assert_never(command)

    def apply(self, event: AccountOpened | MoneyDeposited) -> Self:
        match event:
            case MoneyDeposited(amount=amount):
                return attrs.evolve(self, balance=self.balance + amount)
            case AccountOpened():
                return attrs.evolve(self, is_open=True)
            case _:
                assert_never(event)


def opening(account_id: str) -> OpenAccount:
    """Return a command that opens an account."""
    return OpenAccount(account_id, new_id(), 100_000, now(), HOLDER)


def deposit(account_id: str) -> DepositMoney:
    """Return a command that pays `AMOUNT` in."""
    return DepositMoney(account_id, new_id(), AMOUNT, now(), REFERENCE)


def deposited() -> MoneyDeposited:
    """Return an event by which `AMOUNT` was paid in."""
    return MoneyDeposited(new_id(), AMOUNT, now(), REFERENCE)


def bank(store: EventStore, snapshots: SnapshotEvery | None = None) -> Application:
    """Return a bank over *store*."""
    router = Router()
    router.register(Account, identity="account_id", prefix="account-", snapshots=snapshots)
    return Application(store=store, router=router)
