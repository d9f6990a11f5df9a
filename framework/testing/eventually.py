"""Waiting, in a test, for what other tasks bring about."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import timedelta

_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.05


async def eventually(condition: Callable[[], object], within: timedelta = timedelta(seconds=5)) -> None:
    """Call *condition*, sync or async, again and again until it passes.

    It has not passed while it raises `AssertionError` or returns False. When the time is up, its last failure
    is raised; any other error is raised at once. It is called at least once, and never interrupted.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within.total_seconds()
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            outcome = condition()
            if inspect.isawaitable(outcome):
                outcome = await outcome
            if outcome is False:
                message = f"{condition!r} returned False"
                raise AssertionError(message)  # noqa: TRY301 - so that both ways of failing are waited out alike
        except AssertionError:
            if loop.time() >= deadline:
                raise
        else:
            return
        await asyncio.sleep(min(pause_s, max(deadline - loop.time(), 0)))
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
