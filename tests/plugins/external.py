"""Tests that need a program which no wheel carries: run where it is installed, and named where it is not.

`@pytest.mark.external("pgbouncer")` says which. Such a test is deselected where a program is absent, and not skipped:
what a machine cannot run is no result. The last lines of the run say what was left out. With `--external` these tests
alone are run, and a program that is absent is an error. A listing (`--collect-only`) holds them all.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.plugins.workers import Worker, hand_over, handed_over


@attrs.frozen
class Program:
    """Something to be installed."""

    command: str
    folder: Path
    """Where it may be besides PATH, which for others than root often lacks `sbin`."""
    remedy: str


PROGRAMS: Final = {
    "pgbouncer": Program("pgbouncer", Path("/usr/sbin"), "install the package pgbouncer"),
    "postgresql-15": Program(
        "postgres", Path("/usr/lib/postgresql/15/bin"), "install the package postgresql-15, of apt.postgresql.org"
    ),
}

LEFT_OUT: Final = pytest.StashKey[Counter[str]]()
"""How many tests were deselected, by the program they lack."""


def find_program(name: str) -> Path | None:
    """Return the path of the program of `PROGRAMS` called *name*, or nothing where it is not installed."""
    program = PROGRAMS[name]
    in_folder = program.folder / program.command
    if os.access(in_folder, os.X_OK):
        return in_folder
    # A server of some other version may be first on PATH; a name with a version is looked for in its folder only.
    on_path = shutil.which(name)
    return Path(on_path) if on_path else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--external", action="store_true", help="run the tests of external programs, all of them and no other"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "external(*programs): needs these programs, which no wheel carries")
    config.stash[LEFT_OUT] = Counter()


@pytest.hookimpl(trylast=True)  # what nobody asked for is not left out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.collectonly:
        return
    absent = {item: [program for program in needed(item) if find_program(program) is None] for item in items}
    if config.option.external:
        if lacking := sorted({program for programs in absent.values() for program in programs}):
            said = "\n".join(f"{program} is not installed: {PROGRAMS[program].remedy}" for program in lacking)
            raise pytest.UsageError(said)
        left_out = [item for item in items if not needed(item)]
    else:
        left_out = [item for item in items if absent[item]]
        config.stash[LEFT_OUT].update(program for programs in absent.values() for program in programs)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish(session: pytest.Session) -> None:
    left_out = session.config.stash[LEFT_OUT]
    hand_over(session.config, "left out", dict(left_out))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Worker) -> None:
    left_out = node.config.stash[LEFT_OUT]
    left_out |= Counter(handed_over(node, "left out", {}))  # no sum: each has collected all, and left out the same


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for program, count in sorted(config.stash[LEFT_OUT].items()):
        tests = "1 test was" if count == 1 else f"{count} tests were"
        terminalreporter.write_line(f"{program} is not installed: {tests} left out ({PROGRAMS[program].remedy})")


def needed(item: pytest.Item) -> list[str]:
    """Return the programs that *item* is marked for; raises for a mark that names none, or none that is known."""
    programs: list[str] = []
    for mark in item.iter_markers("external"):
        if not mark.args or not set(mark.args) <= PROGRAMS.keys():
            known = ", ".join(sorted(PROGRAMS))
            raise pytest.UsageError(f"{item.nodeid}: external{mark.args!r} names none of {known}")
        programs += mark.args
    return programs
