"""A transfer: money leaves one account and arrives at another, or comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self, TypeAlias
from uuid import UUID, uuid5

import attrs

from framework import CommandRejected, Connection, Continue, ProcessManager, Projector, Recorded, Schedule, Start, Stop
from sample_bank.accounts import (
    DeclineTransfer,
    DepositMoney,
    MoneyDeposited,
    MoneyOffered,
    MoneyReturned,
    MoneySent,
    ReturnMoney,
    TransferDeclined,
)

TRANSFERS = UUID("6f2a3c1e-5d0b-5a41-9c55-3f1d0e7b8a10")

TransferEvent: TypeAlias = MoneySent | MoneyOffered | TransferDeclined | MoneyDeposited | MoneyReturned
TransferCommand: TypeAlias = DepositMoney | DeclineTransfer | ReturnMoney


def transfer_command_id(transfer_id: str) -> UUID:
    """Return the id to dispatch the `SendMoney` of *transfer_id* under.

    It follows from the transfer, so that one that is sent again, by an impatient customer or by a program that died
    before it heard the answer, is the same transfer.
    """
    return uuid5(TRANSFERS, transfer_id)


@attrs.frozen
class CompleteTransfer(ProcessManager[TransferEvent, TransferCommand]):
    """Money that left one account arrives at the other; what is refused, declined or not answered is given back.

    Whether it arrives is decided by the account that it was sent to, and there alone: an acceptance and a deadline that
    cross each other are two commands to one aggregate, and the second of them finds nothing on offer.
    """

    sender_id: str = ""

    @classmethod
    def interested(cls, event: TransferEvent) -> Start | Continue | Stop | None:
        match event:
            case MoneySent(transfer_id=transfer_id):
                return Start(transfer_id)
            case MoneyOffered(transfer_id=transfer_id) | TransferDeclined(transfer_id=transfer_id):
                return Continue(transfer_id)
            case MoneyDeposited(transfer_id=str(transfer_id)) | MoneyReturned(transfer_id=transfer_id):
                return Stop(transfer_id)
            case _:  # cash
                return None

    def handle(self, event: TransferEvent) -> Iterator[TransferCommand | Schedule[TransferCommand]]:
        match event:
            case MoneySent(target_id=target_id, amount=amount, transfer_id=transfer_id):
                yield DepositMoney(target_id, amount, transfer_id)
            case MoneyOffered(target_id, _, transfer_id, within):
                yield Schedule(DeclineTransfer(target_id, transfer_id), after=within, key="deadline")
            case TransferDeclined(amount=amount, transfer_id=transfer_id):
                yield ReturnMoney(self.sender_id, amount, transfer_id)
            case _:
                pass

    def apply(self, event: TransferEvent) -> Self:
        return attrs.evolve(self, sender_id=event.account_id) if isinstance(event, MoneySent) else self

    def rejected(self, command: TransferCommand, error: CommandRejected) -> Iterator[TransferCommand]:
        match command:
            case DepositMoney(amount=amount, transfer_id=str(transfer_id)):
                yield ReturnMoney(self.sender_id, amount, transfer_id)
            case _:
                raise error


TransferMoved: TypeAlias = MoneySent | MoneyDeposited | MoneyReturned


class Transfers(Projector[TransferMoved]):
    """How far each transfer has come: what is neither delivered nor returned is on its way."""

    version = 1
    schema = """
        CREATE TABLE transfers (
            transfer_id text   PRIMARY KEY,
            sender_id   text   NOT NULL,
            target_id   text   NOT NULL,
            amount      bigint NOT NULL,
            delivered   bigint NOT NULL DEFAULT 0,
            returned    bigint NOT NULL DEFAULT 0
        );
        CREATE INDEX transfers_on_their_way ON transfers (transfer_id) WHERE amount <> delivered + returned;
    """

    async def project(self, event: Recorded[TransferMoved], db: Connection) -> None:
        match event.data:
            case MoneySent(sender_id, amount, _, target_id, transfer_id):
                await db.execute(
                    """
                    INSERT INTO transfers (transfer_id, sender_id, target_id, amount) VALUES ($1, $2, $3, $4)
                    ON CONFLICT (transfer_id) DO UPDATE SET amount = transfers.amount + excluded.amount
                    """,
                    transfer_id,
                    sender_id,
                    target_id,
                    amount,
                )
            case MoneyDeposited(amount=amount, transfer_id=str(transfer_id)):
                await db.execute(
                    "UPDATE transfers SET delivered = delivered + $2 WHERE transfer_id = $1",
                    transfer_id,
                    amount,
                )
            case MoneyReturned(amount=amount, transfer_id=transfer_id):
                await db.execute(
                    "UPDATE transfers SET returned = returned + $2 WHERE transfer_id = $1",
                    transfer_id,
                    amount,
                )
            case _:  # cash
                pass
