"""Forgets what is kept for a time only."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from framework.clock import Clock, jitter
from framework.policies import PRUNE_SECONDS
from framework.store.protocol import EventStore


async def forget_receipts(store: EventStore, clock: Clock, kept: timedelta) -> None:
    """Forget the answers of commands when they are older than *kept*: at once, and again every hour. Never returns."""
    while True:
        await store.prune_receipts(clock.now() - kept)
        await asyncio.sleep(jitter(PRUNE_SECONDS))
