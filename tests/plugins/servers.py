"""The versions of PostgreSQL that a run met, said in its last line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import asyncpg
import pytest

from tests.plugins.workers import Worker, hand_over, handed_over

MET: Final = pytest.StashKey[set[tuple[int, str]]]()

Meet: TypeAlias = Callable[[str], Awaitable[None]]


@pytest.fixture(scope="session")
def meet(pytestconfig: pytest.Config) -> Meet:
    """Asks the server at a DSN for its version, so that the run can say that it ran on it."""

    async def meet(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            number = await connection.fetchval("SELECT current_setting('server_version_num')::int")
            name = await connection.fetchval("SELECT split_part(current_setting('server_version'), ' ', 1)")
        finally:
            await connection.close()
        pytestconfig.stash[MET].add((number, name))

    return meet


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MET] = set()


def pytest_sessionfinish(session: pytest.Session) -> None:
    hand_over(session.config, "met", [*session.config.stash[MET]])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Worker) -> None:
    node.config.stash[MET].update((number, name) for number, name in handed_over(node, "met", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    met = config.stash[MET]
    if met:
        terminalreporter.write_line(f"ran on PostgreSQL {' and '.join(name for _, name in sorted(met))}")
