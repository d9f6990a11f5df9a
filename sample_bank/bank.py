"""The bank, wired together."""

from __future__ import annotations

from framework import Application, PostgresEventStore, Router
from sample_bank.accounts import Account
from sample_bank.balances import Balances
from sample_bank.statements import Statements
from sample_bank.transfers import CompleteTransfer, Transfers

SCHEMA = "bank"
"""Where the log is kept, unless told otherwise."""

router = Router()
router.register(Account, identity="account_id", prefix="account-")


def bank(dsn: str, *, schema: str = SCHEMA) -> Application:
    """Return the bank whose log is in *schema* of the database at *dsn*; open it with `async with`."""
    return Application(
        store=PostgresEventStore(dsn, schema=schema),
        router=router,
        processes=[CompleteTransfer],
        projectors=[Balances(), Statements(), Transfers()],
    )
