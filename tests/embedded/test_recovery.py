"""A server that died comes back with all that was committed, and one that lives is never started over."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from framework import embedded
from framework.errors import EmbeddedServerError
from framework.testing import eventually
from tests.embedded.conftest import Others, ask, postmaster, runs

PR_SET_CHILD_SUBREAPER = 36


async def test_a_killed_server_comes_back_with_what_was_committed(folder: Path) -> None:
    async with embedded.server(folder) as dsn:
        await ask(dsn, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
        os.kill(postmaster(folder), signal.SIGKILL)

        async with embedded.server(folder) as again:
            assert await ask(again, "SELECT count(*) FROM kept") == 1000

    assert not await runs(dsn)


async def test_a_server_that_was_killed_last_is_nobodys_to_stop(folder: Path) -> None:
    async with embedded.server(folder, durable=False) as dsn:
        os.kill(postmaster(folder), signal.SIGKILL)

    assert not await runs(dsn)


@pytest.fixture
def unreaped() -> Generator[None, None, None]:
    """The world of a container whose first process reaps nobody: who dies stays, as a number."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    assert prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets the dead wait on a process of ours")
@pytest.mark.usefixtures("unreaped")
async def test_a_dead_server_that_nobody_reaps_is_not_taken_for_a_living_one(folder: Path) -> None:
    async with embedded.server(folder) as dsn:
        dead = postmaster(folder)
        os.kill(dead, signal.SIGKILL)
        await eventually(lambda: " Z " in Path(f"/proc/{dead}/stat").read_text())

        async with embedded.server(folder) as again:
            assert await runs(again)

    assert Path(f"/proc/{dead}").exists()
    assert not await runs(dsn)


async def test_a_server_that_does_not_answer_is_not_started_over(
    folder: Path, others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "ANSWER_S", 1)
    monkeypatch.setattr(embedded, "SILENCE_S", 1.5)
    other = await others.enter(folder)
    living = postmaster(folder)
    os.kill(living, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedServerError, match=r"does not start; .* shared memory block .* is still in use"):
            async with embedded.server(folder, durable=False):
                pass
    finally:
        os.kill(living, signal.SIGCONT)

    assert postmaster(folder) == living
    assert await runs(other.dsn)
    assert await other.leave() == 0


async def test_a_start_that_fails_says_the_servers_last_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SILENCE_S", 0.5)
    async with embedded.server(folder, durable=False):
        pass
    with (folder / "postgres" / "postgresql.conf").open("a") as settings:
        settings.write("nonsense = on\n")

    with pytest.raises(EmbeddedServerError, match=r"does not start; .*server\.log: .*nonsense|contains errors"):
        async with embedded.server(folder, durable=False):
            pass


async def test_a_making_that_was_cut_short_is_begun_again(folder: Path) -> None:
    (folder / "postgres.new").mkdir(parents=True)
    (folder / "postgres.new" / "half").touch()
    (folder / "turn.lock").touch()

    async with embedded.server(folder, durable=False) as dsn:
        assert await runs(dsn)


async def test_when_all_are_killed_the_next_clean_run_loses_no_row_and_leaves_nothing(
    place: Path, others: Others
) -> None:
    folder = place / ("a folder, " * 12)  # of a name that is none for a socket, which lies elsewhere
    async with embedded.server(folder) as durable:  # who starts it decides for those who come after
        users = [await others.enter(folder) for _ in range(2)]
        await ask(durable, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
    server = postmaster(folder)
    for pid in (users[0].process.pid, server, users[1].process.pid):
        os.kill(pid, signal.SIGKILL)
    for user in users:
        await user.process.wait()

    async with embedded.server(folder, durable=False) as dsn:
        assert await ask(dsn, "SELECT count(*) FROM kept") == 1000
        socket = Path(parse_qs(urlsplit(dsn).query)["host"][0])
        assert socket.exists()

    assert not await runs(dsn)
    assert not socket.exists()
    assert not (folder / "postgres" / "postmaster.pid").exists()
