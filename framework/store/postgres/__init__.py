"""The event store on PostgreSQL."""

from framework.store.postgres.store import PostgresEventStore

__all__ = ["PostgresEventStore"]
