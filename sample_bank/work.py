"""A day at the bank: accounts are opened, money is paid in, and a great many transfers are sent at once.

Everything is asked for under an id that follows from the name of the run. So a run that was cut short, however
brutally, can be started again under its name: what was done is answered, what was not is done, nothing is done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from datetime import timedelta
from random import Random
from time import perf_counter
from uuid import UUID, uuid5

import attrs

from framework import Application, Backoff, Consistency, DispatchResult
from framework.clock import new_id
from framework.errors import DispatchTimeout, OutcomeUnknown, StorageUnavailable
from sample_bank.accounts import (
    AcceptTransfer,
    AccountIsClosed,
    AskFirst,
    CloseAccount,
    DepositMoney,
    InsufficientFunds,
    MoneyOffered,
    OpenAccount,
    SendMoney,
    TransferNotOffered,
    WithdrawMoney,
)
from sample_bank.transfers import Transfers, transfer_command_id

RUNS = UUID("0b7d1d4e-8a53-5f0c-8d7e-2c1f6f1f5b11")

PAID_IN = 1_000
WITHDRAWN = 50
LARGEST_TRANSFER = 20
TOO_MUCH = 1_000_000_000
SENT_IN_VAIN = 25
COIN = 1

OFFERED = 25

CLOSED_ACCOUNT = "closed"
ASKING_ACCOUNTS = {"asks": timedelta(milliseconds=500), "absent": timedelta(milliseconds=200)}
"""Those that accept a transfer before it is theirs, and how long they are asked. At the second nobody answers."""

PATIENCE = Backoff(attempts=20, first=timedelta(milliseconds=50), longest=timedelta(seconds=1))
"""How long a customer asks again while the database is away."""

SETTLED_WITHIN = timedelta(seconds=60)

LOOK_AGAIN_S = 0.02

ON_THEIR_WAY = "SELECT transfer_id FROM transfers WHERE amount <> delivered + returned ORDER BY transfer_id"

Say = Callable[[str], None]


@attrs.frozen
class Plan:
    """How much a run does, and what it is called."""

    run: str = attrs.field(factory=lambda: str(new_id()))
    """Two runs of one name and size are one run."""
    accounts: int = attrs.field(default=10, validator=attrs.validators.ge(2))
    transfers: int = attrs.field(default=500, validator=attrs.validators.ge(0))
    at_once: int = attrs.field(default=50, validator=attrs.validators.ge(1))
    """Transfers that wait for their answer at the same time."""

    @property
    def account_ids(self) -> Sequence[str]:
        """The accounts; those of another run of the same size are the same."""
        return [f"{number:04}" for number in range(1, self.accounts + 1)]

    def sendings(self) -> Iterator[SendMoney]:
        """Yield the transfers, the same each time."""
        chance = Random(self.run)  # noqa: S311 - a plan to repeat, not a secret
        for number in range(1, self.transfers + 1):
            sender, target = chance.sample(self.account_ids, 2)
            yield SendMoney(sender, chance.randint(1, LARGEST_TRANSFER), target, self.transfer_id(str(number)))

    def transfer_id(self, what: str) -> str:
        """Return the id of one transfer of this run."""
        return f"{self.run}/{what}"

    def command_id(self, what: str) -> UUID:
        """Return the id of one command of this run."""
        return uuid5(RUNS, f"{self.run}/{what}")


class NotSettledError(Exception):
    """Some transfers have neither arrived nor come back within the time there was."""

    def __init__(self, within: timedelta, transfer_ids: Collection[str]) -> None:
        self.transfer_ids = tuple(transfer_ids)
        some = ", ".join(self.transfer_ids[:5])
        super().__init__(
            f"after {within.total_seconds():g} s {len(self.transfer_ids)} transfers are still on their way: {some}"
        )


async def work(bank: Application, plan: Plan, say: Say) -> None:
    """Do what *plan* says, and *say* what was done."""
    accounts = plan.account_ids
    with timed(say) as done:
        opened = [await insist(bank, OpenAccount(account), plan.command_id(f"open {account}")) for account in accounts]
        done(f"{len(opened)} accounts, {sum(len(result.events) for result in opened)} of them new")
    with timed(say) as done:
        async with asyncio.TaskGroup() as group:
            for account in accounts:
                deposit = DepositMoney(account, PAID_IN)
                group.create_task(insist(bank, deposit, plan.command_id(f"deposit {account}")))
        done(f"{PAID_IN:,} paid in to each")
    await insist(bank, WithdrawMoney(accounts[0], WITHDRAWN), plan.command_id("withdrawal"))
    say(f"  {WITHDRAWN:,} withdrawn from account {accounts[0]}")
    with timed(say) as done:
        refused = await send_all(bank, plan, say)
        done(f"{plan.transfers - refused:,} transfers sent, {refused:,} refused for lack of funds")
    await send_too_much(bank, plan, say)
    await send_in_vain(bank, plan, say)
    await send_offers(bank, plan, say)


async def send_all(bank: Application, plan: Plan, say: Say) -> int:
    """Send the transfers of *plan*, many at a time, and return how many were refused for lack of funds."""
    say(f"  sending {plan.transfers:,} transfers, {plan.at_once} at a time …")
    sendings = plan.sendings()
    refused = 0

    async def customer() -> None:
        nonlocal refused
        for sending in sendings:
            try:
                await insist(bank, sending, transfer_command_id(sending.transfer_id))
            except InsufficientFunds:
                refused += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(plan.at_once):
            group.create_task(customer())
    return refused


async def send_too_much(bank: Application, plan: Plan, say: Say) -> None:
    """Have one transfer refused for lack of funds."""
    sender, target, *_ = plan.account_ids
    sending = SendMoney(sender, TOO_MUCH, target, plan.transfer_id("too much"))
    try:
        await insist(bank, sending, transfer_command_id(sending.transfer_id))
    except InsufficientFunds as refusal:
        say(f"  {TOO_MUCH:,} from account {sender} to {target} refused: {type(refusal).__name__}: {refusal}")


async def send_in_vain(bank: Application, plan: Plan, say: Say) -> None:
    """Send money to an account that is closed, which is therefore given back."""
    with suppress(AccountIsClosed):  # by an earlier run
        await insist(bank, OpenAccount(CLOSED_ACCOUNT), plan.command_id(f"open {CLOSED_ACCOUNT}"))
    await insist(bank, CloseAccount(CLOSED_ACCOUNT), plan.command_id(f"close {CLOSED_ACCOUNT}"))
    sender = plan.account_ids[0]
    # Paid in for it: what the others sent may still be on its way, and the account as good as empty.
    await insist(bank, DepositMoney(sender, SENT_IN_VAIN), plan.command_id("deposit in vain"))
    sending = SendMoney(sender, SENT_IN_VAIN, CLOSED_ACCOUNT, plan.transfer_id("in vain"))
    await insist(bank, sending, transfer_command_id(sending.transfer_id))
    say(f"  {SENT_IN_VAIN:,} sent from account {sender} to account {CLOSED_ACCOUNT!r}, which is closed")


async def send_offers(bank: Application, plan: Plan, say: Say) -> None:
    """Send money to two accounts that ask first; one transfer is accepted, if that comes in time, the other is not."""
    sender = plan.account_ids[0]
    for account, within in ASKING_ACCOUNTS.items():
        await insist(bank, OpenAccount(account), plan.command_id(f"open {account}"))
        await insist(bank, AskFirst(account, within), plan.command_id(f"ask {account}"))
        await insist(bank, DepositMoney(sender, OFFERED), plan.command_id(f"deposit for {account}"))
        sending = SendMoney(sender, OFFERED, account, plan.transfer_id(account))
        sent = await insist(bank, sending, transfer_command_id(sending.transfer_id))
        say(f"  {OFFERED:,} sent from account {sender} to account {account!r}, which is asked first")
        if account == "asks":
            await accept(bank, sending, sent.position, plan.command_id("accept"))


async def accept(bank: Application, sending: SendMoney, position: int, command_id: UUID) -> None:
    """Accept the transfer of *sending*, which was recorded at *position*, once it is offered; too late is too late."""
    async with aclosing(bank.events(after=position, types=[MoneyOffered])) as offers:
        async for offer in offers:
            if offer.data.transfer_id == sending.transfer_id:
                break
    with suppress(TransferNotOffered):
        await insist(bank, AcceptTransfer(sending.target_id, sending.transfer_id), command_id)


async def settle(bank: Application, account: str, *, within: timedelta = SETTLED_WITHIN) -> None:
    """Return when every transfer has arrived or come back, those of earlier runs included, and all tables say so.

    Pays a coin in to *account* to know that. Raises `NotSettledError`.
    """
    on_their_way: list[str] = []
    try:
        async with asyncio.timeout(within.total_seconds()):
            await catch_up(bank, account)
            # It may be another program that settles them, so there is nothing to wait for but what the table says.
            while on_their_way := await _on_their_way(bank):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN_S)
            await catch_up(bank, account)
    except TimeoutError:
        raise NotSettledError(within, on_their_way) from None


async def _on_their_way(bank: Application) -> list[str]:
    return [row["transfer_id"] for row in await bank.query(Transfers, ON_THEIR_WAY)]


async def catch_up(bank: Application, account: str) -> None:
    """Return when every table holds whatever was recorded before this was called.

    Tables follow the log in order. So one that holds the coin paid in here holds all that came before.
    """
    command_id = new_id()
    while True:
        result = await insist(bank, DepositMoney(account, COIN), command_id, Consistency.STRONG)
        if "late" not in result.waited.values():
            return


async def insist(
    bank: Application, command: object, command_id: UUID, consistency: Consistency = Consistency.EVENTUAL
) -> DispatchResult:
    """Dispatch *command* until its answer is certain, through failures of the database; raises refusals.

    Asking again is safe because of *command_id*: what was recorded the first time is answered, not done again.
    """
    failures = 0
    while True:
        try:
            return await bank.dispatch(command, command_id=command_id, consistency=consistency)
        except (StorageUnavailable, OutcomeUnknown, DispatchTimeout):
            failures += 1
            if failures >= PATIENCE.attempts:
                raise
            await asyncio.sleep(PATIENCE.delay_s(failures))


@contextmanager
def timed(say: Say) -> Generator[Callable[[str], None]]:
    """Give a function that says what was done, and how long the block took to get there."""
    started = perf_counter()

    def done(what: str) -> None:
        say(f"  {what} ({perf_counter() - started:.2f} s)")

    yield done
