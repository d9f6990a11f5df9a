"""Whether money was made or lost: the same sum taken three ways, none of which looks at the others.

What customers paid in less what they took out is in the events of cash alone, so it knows nothing of transfers; the
balances are what a projector wrote; and each account, folded from its own events, says what it would decide by.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import attrs

from framework import Application
from sample_bank.accounts import Account
from sample_bank.balances import Balances

CASH = """
    SELECT coalesce(sum(CASE event_type WHEN 'MoneyDeposited' THEN 1 ELSE -1 END * (data ->> 'amount')::bigint), 0)
      FROM {schema}.events
     WHERE event_type = 'MoneyWithdrawn'
        OR event_type = 'MoneyDeposited' AND data ->> 'transfer_id' IS NULL
"""

ACCOUNTS = "SELECT data ->> 'account_id' FROM {schema}.events WHERE event_type = 'AccountOpened' ORDER BY position"


@attrs.frozen
class Difference:
    """An account whose row is not what its events say."""

    account_id: str
    in_table: int | None
    """None where there is no row."""
    by_events: int | None
    """None where there is no account."""

    def __str__(self) -> str:
        table = "has no row for it" if self.in_table is None else f"says {self.in_table:,}"
        events = "there are no events of it" if self.by_events is None else f"its events say {self.by_events:,}"
        return f"account {self.account_id}: the balances table {table}, {events}"


@attrs.frozen
class Audit:
    """The three sums, and the accounts that are to blame if they differ."""

    cash: int
    """Deposits minus withdrawals, by SQL over the events."""
    table: int
    """The balances table."""
    folded: int
    """The state of every account."""
    differences: Sequence[Difference]

    @property
    def is_conserved(self) -> bool:
        """Whether every way of counting comes to the same."""
        return self.cash == self.table == self.folded and not self.differences


async def audit(bank: Application, dsn: str, *, schema: str) -> Audit:
    """Count the money of *bank*, whose log is in *schema* of the database at *dsn*.

    Money on its way is on no account, and a projector that lags has rows of earlier: count when all is settled.
    """
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(dsn)
    try:
        cash = int(await connection.fetchval(CASH.format(schema=schema)))
        accounts = [str(row[0]) for row in await connection.fetch(ACCOUNTS.format(schema=schema))]
    finally:
        await connection.close()
    rows = await bank.query(Balances, "SELECT account_id, amount FROM balances")
    in_table: dict[str, int] = {row["account_id"]: row["amount"] for row in rows}
    by_events = {account: (await bank.state(Account, account)).balance for account in accounts}
    return Audit(
        cash=cash,
        table=sum(in_table.values()),
        folded=sum(by_events.values()),
        differences=[
            Difference(account, in_table.get(account), by_events.get(account))
            for account in sorted(in_table.keys() | by_events.keys())
            if in_table.get(account) != by_events.get(account)
        ],
    )
