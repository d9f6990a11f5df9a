"""What a store is, for those who speak to one directly."""

from framework.store.protocol import Expected, NewEvent, StoredEvent

__all__ = ["Expected", "NewEvent", "StoredEvent"]
