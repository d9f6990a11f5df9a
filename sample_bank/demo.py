"""The bank's main job: the work, what came of it as a person reads it, and the count of the money."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg

from framework import Application
from sample_bank.audit import Audit, audit
from sample_bank.balances import Balances
from sample_bank.statements import Statements
from sample_bank.tables import table
from sample_bank.transfers import Transfers
from sample_bank.work import ASKING_ACCOUNTS, Plan, Say, settle, timed, work

ROWS = 12
"""Lines of a table that are shown."""

BALANCES = """
    SELECT account_id, amount, CASE WHEN is_open THEN 'open' ELSE 'closed' END
      FROM balances ORDER BY account_id LIMIT $1
"""

STATEMENT = """
    SELECT *
      FROM (SELECT row_number() OVER (ORDER BY number) AS line, booked_at, kind, counterparty, amount, balance
              FROM movements WHERE account_id = $1 ORDER BY number DESC LIMIT $2) AS latest
     ORDER BY line
"""

OUTCOME = "SELECT amount, delivered, returned, target_id FROM transfers WHERE transfer_id = $1"

MOVEMENTS = "SELECT count(*) FROM movements WHERE account_id = $1"


async def demo(
    application: Application, dsn: str, plan: Plan, *, schema: str, tamper: bool = False, say: Say = print
) -> bool:
    """Run *plan*, and return whether all money is accounted for.

    *dsn* and *schema* say where *application* keeps its log. With *tamper*, one row of the balances is falsified
    before the count, and put right after it.
    """
    say(f"Run {plan.run}")
    async with application as bank:
        await work(bank, plan, say)
        first, second, *_ = plan.account_ids
        with timed(say) as done:
            await settle(bank, first)
            done(f"every transfer has arrived or been given back; a coin paid in last to {first} is in every table")
        await show_outcomes(bank, plan, say)
        await show_balances(bank, say)
        await show_statement(bank, first, say)
        if tamper:
            async with tampered(bank, dsn, second, say):
                counted = await audit(bank, dsn, schema=schema)
        else:
            counted = await audit(bank, dsn, schema=schema)
        return conclude(counted, say)


async def show_outcomes(bank: Application, plan: Plan, say: Say) -> None:
    """Show what became of the transfers that did not simply arrive."""
    for what in ("in vain", *ASKING_ACCOUNTS):
        ((amount, delivered, returned, target),) = await bank.query(Transfers, OUTCOME, plan.transfer_id(what))
        say(f"  of the {amount:,} sent to account {target!r}, {delivered:,} arrived and {returned:,} were given back")


async def show_balances(bank: Application, say: Say) -> None:
    """Show what the accounts hold."""
    rows = await bank.query(Balances, BALANCES, ROWS)
    count = (await bank.query(Balances, "SELECT count(*) FROM balances"))[0][0]
    say(f"\nBalances{_of(len(rows), count)}\n")
    say(table(("account", "balance", "status"), [tuple(row) for row in rows]))


async def show_statement(bank: Application, account: str, say: Say) -> None:
    """Show what happened on *account* of late."""
    rows = await bank.query(Statements, STATEMENT, account, ROWS)
    count = (await bank.query(Statements, MOVEMENTS, account))[0][0]
    say(f"\nStatement of account {account}{_of(len(rows), count, 'the last ')}\n")
    say(
        table(
            ("no.", "booked at (UTC)", "what", "from or to", "amount", "balance"),
            [tuple(row) for row in rows],
        )
    )


def conclude(counted: Audit, say: Say) -> bool:
    """Show the three sums and what they come to."""
    say("\nThree sums, taken separately\n")
    sums = [
        ("deposits minus withdrawals, in the events", counted.cash),
        ("rows of the balances table", counted.table),
        ("states of all accounts, folded", counted.folded),
    ]
    say(table(("what", "sum"), sums))
    if counted.differences:
        say("\n" + "\n".join(f"  {difference}" for difference in counted.differences))
        say("  The events are the truth: raise Balances.version, and the table is filled anew from them.")
    say(f"\nmoney conserved: {'yes' if counted.is_conserved else 'no'}")
    return counted.is_conserved


@asynccontextmanager
async def tampered(bank: Application, dsn: str, account: str, say: Say) -> AsyncGenerator[None]:
    """Make one row of the balances wrong inside the block, behind the bank's back."""
    schema = (await bank.query(Balances, "SELECT quote_ident(current_schema())"))[0][0]
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(dsn)
    try:
        falsify = f"UPDATE {schema}.balances SET amount = amount + 1 WHERE account_id = $1 RETURNING amount"
        false = await connection.fetchval(falsify, account)
        say(f"\nTampering: account {account} has {false:,} in the table now, one too much")
        try:
            yield
        finally:
            # Only what is still false: a movement since then has written the row anew.
            restore = f"UPDATE {schema}.balances SET amount = $2 - 1 WHERE account_id = $1 AND amount = $2"
            await connection.execute(restore, account, false)
            say("The money has been counted, and the row put right again.")
    finally:
        await connection.close()


def _of(shown: int, count: int, which: str = "the first ") -> str:
    return "" if shown == count else f", {which}{shown} of {count:,}"
