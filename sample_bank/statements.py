"""What happened on each account: the paper that a bank sends its customers."""

from __future__ import annotations

from typing import TypeAlias, assert_never

from framework import Connection, Projector, Recorded
from sample_bank.accounts import MoneyDeposited, MoneyReturned, MoneySent, MoneyWithdrawn

Movement: TypeAlias = MoneyDeposited | MoneyWithdrawn | MoneySent | MoneyReturned

INSERT = "INSERT INTO movements VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"

OTHER_SIDE = "SELECT account_id, counterparty FROM movements WHERE transfer_id = $1 AND kind = 'sent' LIMIT 1"


class Statements(Projector[Movement]):
    """One row per movement, with the balance after it."""

    version = 1
    schema = """
        CREATE TABLE movements (
            account_id   text        NOT NULL,
            number       bigint      NOT NULL,
            booked_at    timestamptz NOT NULL,
            kind         text        NOT NULL,
            counterparty text,
            transfer_id  text,
            amount       bigint      NOT NULL,
            balance      bigint      NOT NULL,
            PRIMARY KEY (account_id, number)
        );
        CREATE INDEX movements_by_transfer ON movements (transfer_id) WHERE kind = 'sent';
    """

    async def project(self, event: Recorded[Movement], db: Connection) -> None:
        movement = event.data
        transfer_id: str | None = None
        counterparty: str | None = None
        match movement:
            case MoneyDeposited(amount=amount, transfer_id=None):
                kind = "paid in"
            case MoneyDeposited(amount=amount, transfer_id=transfer_id):
                # The log has the sending before the arrival, so its row is there already.
                sent = await db.fetchrow(OTHER_SIDE, transfer_id)
                kind, counterparty = "received", sent and sent["account_id"]
            case MoneyWithdrawn(amount=amount):
                kind, amount = "withdrawn", -amount
            case MoneySent(amount=amount, target_id=counterparty, transfer_id=transfer_id):
                kind, amount = "sent", -amount
            case MoneyReturned(amount=amount, transfer_id=transfer_id):
                sent = await db.fetchrow(OTHER_SIDE, transfer_id)
                kind, counterparty = "given back", sent and sent["counterparty"]
            case _:
                assert_never(movement)
        await db.execute(
            INSERT,
            movement.account_id,
            event.version,
            event.recorded_at,
            kind,
            counterparty,
            transfer_id,
            amount,
            movement.balance,
        )
