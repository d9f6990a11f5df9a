"""A server runs while anyone uses it, and not longer, whoever dies."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from framework import embedded
from framework.postgres_programs import find_programs
from framework.testing import eventually
from tests.embedded.conftest import Others, ask, only_as_root, runs

STARTED_AT = "SELECT pg_postmaster_start_time()"


async def test_a_server_runs_for_as_long_as_it_is_used(folder: Path) -> None:
    async with embedded.server(folder, durable=False) as dsn:
        assert await runs(dsn)

    assert not await runs(dsn)


async def test_what_was_committed_is_there_the_next_time(folder: Path) -> None:
    async with embedded.server(folder) as dsn:
        await ask(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")

    async with embedded.server(folder) as dsn:
        assert await ask(dsn, "SELECT answer FROM kept") == 42


async def test_two_processes_share_one_server_which_the_last_one_out_stops(folder: Path, others: Others) -> None:
    async with embedded.server(folder, durable=False) as dsn:
        other = await others.enter(folder)
        assert await ask(other.dsn, STARTED_AT) == await ask(dsn, STARTED_AT)

    assert await runs(dsn)
    assert await other.leave() == 0
    assert not await runs(dsn)


async def test_the_first_one_out_leaves_the_server_to_the_other(folder: Path, others: Others) -> None:
    other = await others.enter(folder)
    async with embedded.server(folder, durable=False) as dsn:
        assert await other.leave() == 0

        assert await runs(dsn)

    assert not await runs(dsn)


async def test_two_uses_in_one_process_are_counted_as_two(folder: Path) -> None:
    async with embedded.server(folder, durable=False) as dsn:
        async with embedded.server(folder, durable=False) as same:
            assert same == dsn

        assert await runs(dsn)

    assert not await runs(dsn)


async def test_many_who_start_at_once_start_one_server(folder: Path, others: Others) -> None:
    async with asyncio.TaskGroup() as group:
        entering = [group.create_task(others.enter(folder)) for _ in range(4)]
    users = [each.result() for each in entering]

    started_at = {await ask(user.dsn, STARTED_AT) for user in users}

    assert len(started_at) == 1
    assert [await user.leave() for user in users] == [0, 0, 0, 0]
    assert not await runs(users[0].dsn)


async def test_a_killed_user_leaves_a_server_only_until_the_next_run(folder: Path, others: Others) -> None:
    other = await others.enter(folder)
    await other.kill()
    assert await runs(other.dsn)

    async with embedded.server(folder, durable=False) as dsn:
        assert await runs(dsn)

    assert not await runs(dsn)


async def test_a_user_killed_among_others_is_not_counted(folder: Path, others: Others) -> None:
    async with embedded.server(folder, durable=False) as dsn:
        other = await others.enter(folder)
        await other.kill()
        assert await runs(dsn)

    assert not await runs(dsn)


async def test_the_terminals_interrupt_ends_the_program_in_order(folder: Path, others: Others) -> None:
    other = await others.enter(folder)

    os.killpg(other.process.pid, signal.SIGINT)

    assert other.process.stdin is not None
    other.process.stdin.close()
    await other.process.wait()
    assert not await runs(other.dsn)
    assert "database system is shut down" in (folder / "server.log").read_text()


@pytest.mark.parametrize("until", ["turn.lock", "postgres.new", "server.log"])
async def test_a_start_that_is_cancelled_leaves_no_server(folder: Path, until: str) -> None:
    entered = asyncio.Event()

    async def use() -> None:
        async with embedded.server(folder, durable=False):
            entered.set()

    async with asyncio.TaskGroup() as group:
        user = group.create_task(use())
        await eventually((folder / until).exists)
        user.cancel()

    assert user.cancelled()
    assert not entered.is_set()
    assert not (folder / "postgres" / "postmaster.pid").exists()


@only_as_root
async def test_an_ordinary_user_has_a_server_too(place: Path, others: Others, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = find_programs()
    assert programs.account is not None
    monkeypatch.setenv("FRAMEWORK_PG_BIN", str(programs.folder))
    own = place / "own"
    own.mkdir()
    os.chown(own, programs.account.pw_uid, programs.account.pw_gid)

    other = await others.enter(own / "bank", "--ordinary")

    assert await runs(other.dsn)
    assert (own / "bank" / "turn.lock").stat().st_uid == programs.account.pw_uid
    assert await other.leave() == 0
    assert not await runs(other.dsn)
