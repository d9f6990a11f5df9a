"""The store in memory."""

from framework.store.memory.store import MemoryEventStore

__all__ = ["MemoryEventStore"]
