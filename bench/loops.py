"""The event loop that everything here runs on: uvloop where it is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

try:
    import uvloop
except ImportError:
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    loop_factory = uvloop.new_event_loop


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(work)
