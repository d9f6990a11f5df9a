"""The event store on PostgreSQL."""

from framework.store.postgres.database import Database
from framework.store.postgres.status import LaneStatus, Session, Status
from framework.store.postgres.store import PostgresEventStore
from framework.store.postgres.transaction import JoinedTransaction, Transaction

__all__ = ["Database", "JoinedTransaction", "LaneStatus", "PostgresEventStore", "Session", "Status", "Transaction"]
