"""What all tests share: one database server, and the rule that a test leaves no task behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import structlog

from framework import embedded
from framework.settings import Settings

pytest_plugins = [
    "tests.plugins.collected",
    "tests.plugins.external",
    "tests.plugins.findings",
    "tests.plugins.servers",
    "pytester",
]
pytest.register_assert_rewrite("framework.testing.store_contract")

PASSING_S = 0.2
"""How long a task may be there after a test: a store that outlives the test has such as come and go."""

LAST_WORDS_S = 5.0
"""How long the tasks that a test left behind may take to be cancelled."""


@pytest.fixture(scope="session")
async def dsn(meet: Callable[[str], Awaitable[None]]) -> AsyncIterator[str]:
    """A database server: the one FRAMEWORK_DSN names, or one of our own that forgets at a power cut."""
    with TemporaryDirectory(prefix="framework-tests-") as folder:
        given = Settings.from_environment(os.environ).dsn
        async with embedded.database(Path(folder), given=given, durable=False) as dsn:
            await meet(dsn)
            yield dsn


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo what a test has told structlog, which is the same for all of them."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves tasks on the loop, where they would run into the next one."""
    before = asyncio.all_tasks()

    yield

    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=PASSING_S)
    if left:
        for task in left:
            task.cancel()
        _, deaf = await asyncio.wait(left, timeout=LAST_WORDS_S)
        names = "\n".join(f"  {task!r}" + (" (deaf to its cancellation)" if task in deaf else "") for task in left)
        pytest.fail(f"the test left tasks behind:\n{names}", pytrace=False)
