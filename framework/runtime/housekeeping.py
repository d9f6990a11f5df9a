"""What is kept for a time only is forgotten after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from framework.clock import Clock
from framework.policies import PRUNE_SECONDS
from framework.runtime.supervisor import Supervisor

Forget: TypeAlias = Callable[[datetime], Awaitable[object]]
"""Forgets what was written before a moment."""

FIRST_MOMENT: Final = datetime.min.replace(tzinfo=UTC)


def forget_after(kept: timedelta, name: str, forget: Forget, clock: Clock, supervisor: Supervisor) -> None:
    """Have *forget* called now and then, by a part called *name*, with the moment that lies *kept* before now.

    What is kept for longer than there have been dates is kept for ever, and costs nothing.
    """
    if kept > clock.now() - FIRST_MOMENT:
        return

    async def look() -> None:
        await forget(clock.now() - kept)

    supervisor.every(PRUNE_SECONDS, name, look)
