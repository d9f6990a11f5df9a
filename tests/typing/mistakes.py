"""Planted mistakes: each line marked `expect` is an error to the type checkers that the mark names, and no other is.

Nothing here is run. Where only one checker is named, the other does not look for that kind of mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self, assert_never

import attrs

from framework import Aggregate, Application, CommandContext, Connection, Consistency, DispatchResult, EventHandler, Next, MemoryEventStore, ProcessManager
from framework import Projector, Recorded, Router, Start, Stop
from framework.testing import WatchedApplication, given
from tests.typing.test_listing import (
    Account,
    AccountCommand,
    AccountEvent,
    AccountOpened,
    Balances,
    CompleteTransfer,
    DepositMoney,
    MoneyDeposited,
    MoneySent,
    OpenAccount,
    SendMoney,
    router,
)

# A decision ----------------------------------------------------------------------------------------


@attrs.frozen
class ForgottenEvent(Aggregate[AccountCommand, AccountEvent]):
    balance: int = 0

    def execute(self, command: AccountCommand) -> Iterator[AccountEvent]:
        yield AccountOpened(command.account_id)

    def apply(self, event: AccountEvent) -> Self:
        match event:
            case AccountOpened():
                return self
            case MoneyDeposited(balance=balance):
                return attrs.evolve(self, balance=balance)
            case _:
                assert_never(event)  # expect: mypy, pyright


@attrs.frozen
class ForgottenEventAndNoLastCase(Aggregate[AccountCommand, AccountEvent]):
    balance: int = 0

    def execute(self, command: AccountCommand) -> Iterator[AccountEvent]:
        yield AccountOpened(command.account_id)

    def apply(self, event: AccountEvent) -> Self:  # expect: mypy, pyright
        match event:  # expect: mypy, pyright
            case AccountOpened():
                return self
            case MoneyDeposited(balance=balance):
                return attrs.evolve(self, balance=balance)


@attrs.frozen
class ForgottenCommand(Aggregate[AccountCommand, AccountEvent]):
    def execute(self, command: AccountCommand) -> Iterator[AccountEvent]:
        match command:
            case OpenAccount(account_id):
                yield AccountOpened(account_id)
            case DepositMoney(account_id, amount):
                yield MoneyDeposited(account_id, amount)
            case _:
                assert_never(command)  # expect: mypy, pyright

    def apply(self, event: AccountEvent) -> Self:
        del event
        return self


@attrs.frozen
class ForgottenCommandAndNoLastCase(Aggregate[AccountCommand, AccountEvent]):
    def execute(self, command: AccountCommand) -> Iterator[AccountEvent]:
        match command:  # expect: mypy, pyright
            case OpenAccount(account_id):
                yield AccountOpened(account_id)
            case SendMoney():
                return

    def apply(self, event: AccountEvent) -> Self:
        del event
        return self


@attrs.frozen
class WrongEvents(Aggregate[OpenAccount, AccountOpened]):
    is_open: bool = False

    def execute(self, command: OpenAccount) -> Iterator[AccountOpened]:
        yield MoneyDeposited(command.account_id, 1)  # expect: mypy, pyright
        yield command  # expect: mypy, pyright
        yield AccountOpened(command.number)  # expect: mypy, pyright
        yield AccountOpened(1)  # expect: mypy, pyright
        yield AccountOpened(command.account_id, 1)  # expect: mypy, pyright

    def apply(self, event: AccountOpened) -> Self:
        self.is_open = True  # expect: mypy, pyright
        event.account_id = ""  # expect: mypy, pyright
        return attrs.evolve(self, is_shut=False)  # expect: mypy


class WrongState(Aggregate[OpenAccount, AccountOpened]):
    def execute(self, command: OpenAccount) -> Iterator[AccountOpened]:
        yield AccountOpened(command.account_id)

    def apply(self, event: AccountOpened) -> Self:
        return event  # expect: mypy, pyright


class OtherContract(Aggregate[OpenAccount, AccountOpened]):
    def execute(self, command: DepositMoney) -> Iterator[MoneyDeposited]:  # expect: mypy, pyright
        yield MoneyDeposited(command.account_id, command.amount)

    def apply(self, event: MoneyDeposited) -> Self:  # expect: mypy, pyright
        del event
        return self


class AsyncDecision(Aggregate[OpenAccount, AccountOpened]):
    async def execute(self, command: OpenAccount) -> list[AccountOpened]:  # expect: mypy, pyright
        return [AccountOpened(command.account_id)]

    def apply(self, event: AccountOpened) -> Self:
        del event
        return self


class NoApply(Aggregate[OpenAccount, AccountOpened]):
    def execute(self, command: OpenAccount) -> Iterator[AccountOpened]:
        yield AccountOpened(command.account_id)


NoApply()  # expect: mypy, pyright


# A process -----------------------------------------------------------------------------------------


@attrs.frozen
class WrongCommands(ProcessManager[MoneySent | MoneyDeposited, DepositMoney]):
    @classmethod
    def interested(cls, event: MoneySent | MoneyDeposited) -> Start | Stop | None:
        match event:
            case MoneySent(transfer_id=transfer_id):
                return Start(transfer_id)
            case MoneyDeposited(transfer_id=transfer_id):
                return Stop(transfer_id)  # expect: mypy, pyright

    def handle(self, event: MoneySent | MoneyDeposited) -> Iterator[DepositMoney]:
        yield OpenAccount(event.account_id)  # expect: mypy, pyright
        yield event  # expect: mypy, pyright
        yield DepositMoney(event.account_id, event.amount)  # expect: mypy, pyright


@attrs.frozen
class WrongTrigger(ProcessManager[MoneySent, DepositMoney]):
    @classmethod
    def interested(cls, event: MoneyDeposited) -> Start | None:  # expect: mypy, pyright
        return Start(event.account_id)

    def handle(self, event: MoneyDeposited) -> Iterator[DepositMoney]:  # expect: mypy, pyright
        yield DepositMoney(event.account_id, event.balance)


# A projector and a handler -------------------------------------------------------------------------


class WrongRows(Projector[AccountOpened]):
    async def project(self, event: Recorded[MoneySent], db: Connection) -> None:  # expect: mypy, pyright
        await db.execute("", event.data.balance)


class ForgottenData(Projector[AccountOpened]):
    async def project(self, event: Recorded[AccountOpened], db: Connection) -> None:
        await db.execute("", event.account_id)  # expect: mypy, pyright
        db.execute("", event.data.account_id)  # expect: mypy, pyright
        db.run("", event.data.account_id)  # expect: mypy, pyright


class SyncRows(Projector[AccountOpened]):
    def project(self, event: Recorded[AccountOpened], db: Connection) -> None:  # expect: mypy, pyright
        del event, db


class WrongAlert(EventHandler[MoneySent]):
    async def handle(self, event: Recorded[AccountOpened]) -> None:  # expect: mypy, pyright
        del event


# A test --------------------------------------------------------------------------------------------


def test_a_command_stands_where_an_event_belongs() -> None:
    given(Account, OpenAccount("a")).when(DepositMoney("a", 1))  # expect: mypy, pyright
    given(Account).when(OpenAccount("a")).then(OpenAccount("a"))  # expect: mypy, pyright


def test_an_event_stands_where_a_command_belongs() -> None:
    given(Account).when(AccountOpened("a"))  # expect: mypy, pyright
    given(Account).having(AccountOpened("a"))  # expect: mypy, pyright
    given(Account).having(OpenAccount("a"), MoneyDeposited("a", 1))  # expect: mypy, pyright
    given(CompleteTransfer).having(DepositMoney("b", 30, "t"))  # expect: mypy, pyright
    given(CompleteTransfer).when(MoneySent("a", 70, 30, "b", "t")).then(MoneyDeposited("b", 30))  # expect: mypy, pyright
    given(CompleteTransfer, DepositMoney("b", 30, "t"))  # expect: mypy, pyright
    given(CompleteTransfer).when(AccountOpened("a"))  # expect: mypy, pyright


def test_a_refusal_is_an_error() -> None:
    given(Account).when(OpenAccount("a")).then_raises(AccountOpened)  # expect: mypy, pyright


async def test_an_application_is_watched() -> None:
    async with WatchedApplication(store=MemoryEventStore(), router=router) as bank:
        await bank.expect(OpenAccount("a"))  # expect: mypy, pyright
        print((await bank.expect(MoneySent)).data.sum)  # expect: mypy, pyright
        await bank.expect(MoneySent, where=lambda sent: sent.sum > 1)  # expect: mypy, pyright
        bank.settled()  # expect: mypy, pyright


# The wiring ----------------------------------------------------------------------------------------


async def a_program() -> None:
    Router().register(OpenAccount, identity="account_id")  # expect: mypy, pyright
    Router().register(Account)  # expect: mypy, pyright
    Application(store=MemoryEventStore(), router=router, projectors=[Balances])  # expect: mypy, pyright
    Application(store=MemoryEventStore(), router=router, processes=[CompleteTransfer()])  # expect: mypy, pyright
    Application(store=None, router=router)  # expect: mypy, pyright
    async with Application(store=MemoryEventStore(), router=router) as bank:
        await bank.dispatch(OpenAccount("a"), consistency=Balances)  # expect: mypy, pyright
        await bank.dispatch(OpenAccount("a"), consistency=[Balances()])  # expect: mypy, pyright
        await bank.dispatch(OpenAccount("a"), consistency=Consistency.ALWAYS)  # expect: mypy, pyright
        await bank.state(OpenAccount, "a")  # expect: mypy, pyright
        print((await bank.state(Account, "a")).amount)  # expect: mypy, pyright
        print((await bank.dispatch(OpenAccount("a"))).versions)  # expect: mypy, pyright
        await bank.query(CompleteTransfer, "")  # expect: mypy, pyright
        bank.dispatch(OpenAccount("a"))  # expect: mypy, pyright
        await bank.dispatch(OpenAccount("a"), expected_version="1")  # expect: mypy, pyright
        await bank.dispatch(OpenAccount("a"), timeout=5)  # expect: mypy, pyright
        await bank.dispatch(OpenAccount("a"), returning=OpenAccount)  # expect: mypy, pyright
        print((await bank.dispatch(OpenAccount("a"))).state)  # expect: mypy, pyright
        print((await bank.dispatch(OpenAccount("a"), returning=Account)).state.amount)  # expect: mypy, pyright
        print(bank.command_from_json(OpenAccount, "{}").amount)  # expect: mypy, pyright


def a_router() -> None:
    mine = Router()
    mine.register(Account, identity="account_id", retry="often")  # expect: mypy, pyright
    mine.register(Account, identity="account_id", lifetime=1)  # expect: mypy, pyright
    mine.register_command(DepositMoney, Account, handler=for_another_state)  # expect: mypy, pyright
    mine.register_command(DepositMoney, Account, handler=for_another_command)  # expect: mypy, pyright
    mine.register_command(DepositMoney, OpenAccount)  # expect: mypy, pyright
    mine.register_command(DepositMoney, Account, check=without_metadata)  # expect: mypy, pyright
    mine.register_command(DepositMoney, Account, identity=lambda command: command.number)  # expect: mypy, pyright


def for_another_state(state: WrongEvents, command: DepositMoney) -> Iterator[MoneyDeposited]:
    yield MoneyDeposited(command.account_id, state.is_open)


def for_another_command(state: Account, command: OpenAccount) -> Iterator[MoneyDeposited]:
    yield MoneyDeposited(command.account_id, state.balance)


def without_metadata(state: Account, command: DepositMoney) -> None:
    del state, command


async def that_forgets_the_answer(context: CommandContext, call_next: Next) -> None:
    await call_next(context)


class ThatIsNotAsync:
    def __call__(self, context: CommandContext, call_next: Next) -> DispatchResult:
        return call_next(context)  # expect: mypy, pyright


class ThatChangesTheContext:
    async def __call__(self, context: CommandContext, call_next: Next) -> DispatchResult:
        context.metadata = {}  # expect: mypy, pyright
        return call_next(context)  # expect: mypy, pyright


Application(store=MemoryEventStore(), router=router, middleware=[that_forgets_the_answer])  # expect: mypy, pyright
Application(store=MemoryEventStore(), router=router, middleware=[ThatIsNotAsync()])  # expect: mypy, pyright
