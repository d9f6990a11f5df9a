"""What the parts of the store have in common: they ask one database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Any


class Asking(ABC):
    """A part of the store, which brings the way to the database."""

    @abstractmethod
    async def _fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Return the rows of *statement*; raises `StorageUnavailable`."""

    @abstractmethod
    def _session(self) -> AbstractAsyncContextManager[Any]:
        """Lend a connection; raises `StorageUnavailable`, before the block begins if none can be had."""
