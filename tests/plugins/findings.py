"""What tests have found out that is worth reading, said at the end of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import pytest

from tests.plugins.workers import Worker, hand_over, handed_over

FOUND: Final = pytest.StashKey[list[str]]()

Say: TypeAlias = Callable[[str], None]


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Say:
    """Has a line stand at the end of the run, where pytest hides no print."""
    return pytestconfig.stash[FOUND].append


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FOUND] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    hand_over(session.config, "found", session.config.stash[FOUND])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Worker) -> None:
    node.config.stash[FOUND] += handed_over(node, "found", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[FOUND]:
        terminalreporter.write_line(line)
