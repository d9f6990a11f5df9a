"""The main job comes to its end, again on what it left, and finds what was tampered with."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from sample_bank.audit import audit
from sample_bank.bank import bank
from sample_bank.demo import demo
from sample_bank.work import Plan
from tests.sample_bank.programs import environment

ROOT = Path(__file__).parent.parent.parent


async def program(dsn: str, *arguments: str) -> tuple[int, str, str]:
    """Run the sample bank as a person does, and return its exit status and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sample_bank", *arguments),
        cwd=ROOT,
        env=environment(dsn),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_demo_ends_with_all_money_accounted_for_and_runs_again(dsn: str, schema: str) -> None:
    first = await program(dsn, "demo", "--schema", schema, "--transfers", "40")
    second = await program(dsn, "demo", "--schema", schema, "--transfers", "40")

    for status, out, err in (first, second):
        assert (status, err) == (0, "")
        assert out.endswith("\nmoney conserved: yes\n")
        assert "1,000,000,000 from account 0001 to 0002 refused: InsufficientFunds" in out
        assert "of the 25 sent to account 'closed', 0 arrived and 25 were given back" in out
        assert "of the 25 sent to account 'absent', 0 arrived and 25 were given back" in out
        assert "of the 25 sent to account 'asks', " in out
    assert "10 of them new" in first[1]
    assert "0 of them new" in second[1]


async def test_a_row_that_was_tampered_with_is_found_and_put_right_again(dsn: str, schema: str) -> None:
    said: list[str] = []
    plan = Plan(transfers=10)

    tampered = await program(dsn, "demo", "--schema", schema, "--transfers", "10", "--tamper")
    honest = await demo(bank(dsn, schema=schema), dsn, plan, schema=schema, say=said.append)

    status, out, err = tampered
    assert (status, err) == (1, "")
    assert "account 0002: the balances table says" in out
    assert out.endswith("\nmoney conserved: no\n")
    assert honest
    assert said[-1] == "\nmoney conserved: yes"


async def test_a_run_of_the_same_name_does_nothing_twice(dsn: str, schema: str) -> None:
    plan = Plan("monday", accounts=3, transfers=20)

    def ignore(_: str) -> None:
        pass

    async def sent() -> int:
        async with bank(dsn, schema=schema) as application:
            counted = await audit(application, dsn, schema=schema)
            assert counted.is_conserved
            return counted.cash

    await demo(bank(dsn, schema=schema), dsn, plan, schema=schema, say=ignore)
    once = await sent()
    await demo(bank(dsn, schema=schema), dsn, plan, schema=schema, say=ignore)

    # Two coins a run are paid in to know that the tables are up to date; nothing else has changed.
    assert await sent() == once + 2


async def test_a_database_that_does_not_answer_is_said_in_a_sentence() -> None:
    status, out, err = await program("postgresql://nobody@127.0.0.1:1/nothing", "demo")

    assert status == 2
    assert out.count("\n") == 1
    assert err.startswith("sample_bank: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("demo", "--accounts", "1"), ("demo", "--transfers", "many")])
async def test_wrong_use_is_told_from_a_wrong_count(arguments: tuple[str, ...]) -> None:
    status, _, err = await program("postgresql://", *arguments)

    assert status == 2
    assert "usage:" in err
