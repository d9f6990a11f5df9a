"""A bank: accounts, balances, and transfers between accounts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self, assert_never

import attrs

from framework import Aggregate, Application, CommandRejected, Connection, ProcessManager
from framework import Projector, Recorded, Router, Start, Stop


@attrs.frozen
class OpenAccount:
    account_id: str


@attrs.frozen
class DepositMoney:
    account_id: str
    amount: int
    transfer_id: str | None = None


@attrs.frozen
class SendMoney:
    account_id: str
    amount: int
    target_id: str
    transfer_id: str


@attrs.frozen
class AccountOpened:
    account_id: str


@attrs.frozen
class MoneyDeposited:
    account_id: str
    balance: int
    transfer_id: str | None = None


@attrs.frozen
class MoneySent:
    account_id: str
    balance: int
    amount: int
    target_id: str
    transfer_id: str


class AccountNotOpen(CommandRejected):
    """Nobody opened this account."""


class InsufficientFunds(CommandRejected):
    """The balance does not cover the amount."""


AccountCommand = OpenAccount | DepositMoney | SendMoney
AccountEvent = AccountOpened | MoneyDeposited | MoneySent


@attrs.frozen
class Account(Aggregate[AccountCommand, AccountEvent]):
    balance: int = 0
    is_open: bool = False

    def execute(self, command: AccountCommand) -> Iterator[AccountEvent]:
        match command:
            case OpenAccount(account_id):
                if not self.is_open:
                    yield AccountOpened(account_id)
            case DepositMoney(account_id) | SendMoney(account_id) if not self.is_open:
                raise AccountNotOpen(account_id)
            case DepositMoney(account_id, amount, transfer_id):
                yield MoneyDeposited(account_id, self.balance + amount, transfer_id)
            case SendMoney(amount=amount) if amount > self.balance:
                raise InsufficientFunds(f"{amount} exceeds {self.balance}")
            case SendMoney(account_id, amount, target_id, transfer_id):
                yield MoneySent(account_id, self.balance - amount, amount, target_id, transfer_id)
            case _:
                assert_never(command)

    def apply(self, event: AccountEvent) -> Self:
        match event:
            case AccountOpened():
                return attrs.evolve(self, is_open=True)
            case MoneyDeposited(balance=balance) | MoneySent(balance=balance):
                return attrs.evolve(self, balance=balance)
            case _:
                assert_never(event)


@attrs.frozen
class CompleteTransfer(ProcessManager[MoneySent | MoneyDeposited, DepositMoney]):
    """Money that left one account arrives at the other."""

    @classmethod
    def interested(cls, event: MoneySent | MoneyDeposited) -> Start | Stop | None:
        match event:
            case MoneySent(transfer_id=transfer_id):
                return Start(transfer_id)
            case MoneyDeposited(transfer_id=str(transfer_id)):
                return Stop(transfer_id)
            case _:
                return None

    def handle(self, event: MoneySent | MoneyDeposited) -> Iterator[DepositMoney]:
        match event:
            case MoneySent(target_id=target_id, amount=amount, transfer_id=transfer_id):
                yield DepositMoney(target_id, amount, transfer_id)
            case _:
                pass


class Balances(Projector[AccountEvent]):
    """What each account holds, one row per account."""

    version = 1
    schema = "CREATE TABLE balances (id text PRIMARY KEY, amount bigint NOT NULL)"

    async def project(self, event: Recorded[AccountEvent], db: Connection) -> None:
        match event.data:
            case AccountOpened(account_id):
                await db.execute("INSERT INTO balances VALUES ($1, 0)", account_id)
            case MoneyDeposited(account_id, balance) | MoneySent(account_id, balance):
                await db.execute("UPDATE balances SET amount = $2 WHERE id = $1", account_id, balance)


router = Router()
router.register(Account, identity="account_id", prefix="account-")


from framework import Consistency, PostgresEventStore
from framework.testing import given


async def main(dsn: str) -> None:
    store = PostgresEventStore(dsn)          # or MemoryEventStore(), with read_models=dsn where there are projectors
    application = Application(store=store, router=router, processes=[CompleteTransfer], projectors=[Balances()])
    async with application as bank:
        await bank.dispatch(OpenAccount("a"))
        result = await bank.dispatch(DepositMoney("a", 100), consistency=Consistency.STRONG)
        print(result.stream, result.version, result.position, result.events)
        assert await bank.state(Account, "a") == Account(balance=100, is_open=True)
        assert await bank.state(Account, "a", version=1) == Account(is_open=True)     # time travel; also at=datetime
        print(await bank.query(Balances, "SELECT id, amount FROM balances ORDER BY id"))


def test_sending_lowers_the_balance() -> None:
    (
        given(Account, AccountOpened("a"), MoneyDeposited("a", balance=100))
        .when(SendMoney("a", 30, target_id="b", transfer_id="t"))
        .then(MoneySent("a", balance=70, amount=30, target_id="b", transfer_id="t"))
    )


def test_sending_more_than_the_balance_is_refused() -> None:
    given(Account, AccountOpened("a")).when(SendMoney("a", 30, "b", "t")).then_raises(InsufficientFunds)


def test_opening_twice_changes_nothing() -> None:
    given(Account, AccountOpened("a")).when(OpenAccount("a")).then()


def test_a_sent_amount_is_deposited_at_the_target() -> None:
    given(CompleteTransfer).when(MoneySent("a", 70, 30, "b", "t")).then(DepositMoney("b", 30, "t"))
