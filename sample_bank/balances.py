"""What each account holds."""

from __future__ import annotations

from framework import Connection, Projector, Recorded
from sample_bank.accounts import (
    AccountClosed,
    AccountEvent,
    AccountOpened,
    AskingBegun,
    MoneyDeposited,
    MoneyOffered,
    MoneyReturned,
    MoneySent,
    MoneyWithdrawn,
    TransferDeclined,
)


class Balances(Projector[AccountEvent]):
    """One row per account."""

    version = 1
    schema = """
        CREATE TABLE balances (
            account_id text    PRIMARY KEY,
            amount     bigint  NOT NULL DEFAULT 0,
            is_open    boolean NOT NULL DEFAULT true
        )
    """

    async def project(self, event: Recorded[AccountEvent], db: Connection) -> None:
        match event.data:
            case AccountOpened(account_id):
                await db.execute("INSERT INTO balances (account_id) VALUES ($1)", account_id)
            case MoneyDeposited() | MoneyWithdrawn() | MoneySent() | MoneyReturned():
                await db.execute(
                    "UPDATE balances SET amount = $2 WHERE account_id = $1",
                    event.data.account_id,
                    event.data.balance,
                )
            case AccountClosed(account_id):
                await db.execute("UPDATE balances SET is_open = false WHERE account_id = $1", account_id)
            case AskingBegun() | MoneyOffered() | TransferDeclined():
                pass  # what is offered is not the account's yet
