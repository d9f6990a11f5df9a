"""The same rows by the projection runner of `eventsourcing`."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Final

from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL, Identifier

from bench.harness import Sample, check
from bench.peer import Bank

PATIENCE_S: Final = 120.0

TABLE: Final = "CREATE TABLE IF NOT EXISTS {0}.balances (account text PRIMARY KEY, amount bigint NOT NULL)"
PAY: Final = """
    INSERT INTO {0}.balances AS b VALUES (%s, %s)
        ON CONFLICT (account) DO UPDATE SET amount = b.amount + excluded.amount
"""
EMPTY: Final = "WITH gone AS (DELETE FROM {0}.balances) DELETE FROM {0}.{1} WHERE application_name = %s"
"""The table of places has a row of its own, too, without which it would be migrated again."""
COUNT: Final = "SELECT sum(amount) AS amount FROM {0}.balances"


class View(PostgresTrackingRecorder):
    """What each account holds, and how far that goes."""

    def __init__(self, datastore: PostgresDatastore, **options: Any) -> None:
        super().__init__(datastore, **options)
        self.sql_create_statements.append(SQL(TABLE).format(Identifier(datastore.schema)))

    def pay(self, account: str, amount: int, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(SQL(PAY).format(Identifier(self.datastore.schema)), (account, amount))

    def total(self) -> int:
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(SQL(COUNT).format(Identifier(self.datastore.schema)))
            row = cursor.fetchone()
            return int(row["amount"]) if row else 0

    def empty(self) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            names = Identifier(self.datastore.schema), Identifier(self.tracking_table_name)
            cursor.execute(SQL(EMPTY).format(*names), (Bank.name,))


class Balances(Projection[View]):
    name = "balances"
    topics = ()

    # Its own may be told apart by the types of events; there is no need for that here.
    def process_event(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, domain_event: Any, tracking: Tracking
    ) -> None:
        amount: int = getattr(domain_event, "amount", 0)  # an account that was opened brings none
        self.view.pay(str(domain_event.originator_id), amount, tracking)


def project(settings: dict[str, str], last: int, amount: int) -> Sample:
    """Project all events up to the notification *last* anew, and check that they come to *amount*."""
    began = perf_counter()
    with ProjectionRunner(application_class=Bank, projection_class=Balances, view_class=View, env=settings) as runner:
        runner.wait(last, timeout=PATIENCE_S)
        sample = Sample(last / (perf_counter() - began))
        view = runner.projection.view
        check("sum of balances", view.total(), amount)
    view.empty()
    return sample
