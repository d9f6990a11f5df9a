"""What the harness makes of what it measures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from bench import __main__ as program
from bench import report
from bench.harness import (
    Bench,
    Pace,
    Result,
    Row,
    Run,
    Sample,
    Sides,
    Target,
    at_least,
    at_most,
    check,
    measure,
    steadily,
)

PACE = Pace(seconds=0.0, runs=3, warm_up=1.0)


def values(log: list[str], name: str, *figures: float) -> Run:
    """A side whose runs come to *figures*, the first of which is the warm-up's."""
    left = list(figures)

    async def run(_: float) -> Sample:
        log.append(name)
        return Sample(left.pop(0))

    return run


def row(target: Target, ours: Run, baselines: Mapping[str, Run]) -> Row:
    @asynccontextmanager
    async def setup(_: Bench) -> AsyncGenerator[Sides, None]:
        yield Sides(ours, baselines)

    return Row("row", "acts/s", target, setup)


async def measured(target: Target, ours: Run, baselines: Mapping[str, Run]) -> Result:
    return await measure(row(target, ours, baselines), Bench("", PACE))


async def fails(_: float) -> Sample:
    check("count", 1, 2)
    return Sample(1)


async def test_both_sides_take_turns() -> None:
    log: list[str] = []

    await measured(at_least(1), values(log, "ours", 1, 1, 1, 1), {"theirs": values(log, "theirs", 1, 1, 1, 1)})

    assert log == ["ours", "theirs"] * 4


async def test_the_ratio_is_that_of_the_medians_and_the_warm_up_does_not_count() -> None:
    result = await measured(at_least(2), values([], "", 999, 10, 30, 20), {"theirs": values([], "", 999, 5, 1, 9)})

    assert (result.value, result.baseline_value, result.ratio, result.verdict) == (20, 5, 4, "ok")
    assert (result.runs, result.min, result.max) == ([10, 30, 20], 10, 30)


@pytest.mark.parametrize(("target", "hardest"), [(at_least(1), "high"), (at_most(1), "low")])
async def test_of_several_baselines_the_best_counts(target: Target, hardest: str) -> None:
    baselines = {"low": values([], "", 1, 1, 1, 1), "high": values([], "", 3, 3, 3, 3)}

    result = await measured(target, values([], "", 2, 2, 2, 2), baselines)

    assert result.baseline == hardest
    assert result.verdict == "missed"


async def test_a_row_without_a_baseline_is_held_to_its_value() -> None:
    result = await measured(at_most(10), values([], "", 9, 9, 9, 9), {})

    assert (result.ratio, result.verdict) == (None, "ok")


async def test_a_baseline_that_cannot_be_run_leaves_no_ratio_and_the_row_does_not_hold() -> None:
    result = await measured(
        at_least(1), values([], "", 2, 2, 2, 2), {"broken": fails, "slow": values([], "", 1, 1, 1, 1)}
    )

    assert (result.verdict, result.ratio) == ("no baseline", None)
    assert any("broken could not be run" in note for note in result.notes)


async def test_a_row_whose_counts_are_wrong_has_failed() -> None:
    result = await measured(at_least(1), fails, {})

    assert (result.verdict, result.value) == ("failed", None)
    assert result.notes == ["WrongCountError: count: 1 where 2 should be"]


async def test_steady_work_counts_every_act_of_every_caller() -> None:
    acts: list[tuple[int, int]] = []

    async def act(caller: int, turn: int) -> None:
        acts.append((caller, turn))
        await asyncio.sleep(0)

    sample = await steadily(0.0, 3, act, at_least_each=2)

    assert sorted(acts) == [(caller, turn) for caller in range(3) for turn in range(2)]
    assert len(sample.latencies) == len(acts)


def test_what_does_not_hold_stays_in_the_table_in_red() -> None:
    held = Result("held", "acts/s", "≥ 2", "ok", value=3.0)
    missed = Result("missed", "acts/s", "≥ 2", "missed", value=1.0)

    lines = report.table([held, missed], colours=True).splitlines()

    assert [line.startswith(report.RED) for line in lines] == [False, False, True]


async def test_what_was_measured_is_kept_with_what_it_holds_for(dsn: str, tmp_path: Path) -> None:
    result = Result("row", "acts/s", "≥ 2", "ok", value=3.0, ratio=2.5, runs=[3.0])

    report.write(tmp_path / "bench.json", [result], await report.settings(dsn, PACE))

    document = msgspec.json.decode((tmp_path / "bench.json").read_bytes())
    assert document["rows"][0]["ratio"] == 2.5
    assert document["settings"]["postgresql"].keys() == set(report.SETTINGS)
    assert document["machine"]["processors"]


def test_rows_are_chosen_by_name() -> None:
    assert [row.name for row in program.chosen("read_log, append_grouped", is_full=False)] == [
        "read_log",
        "append_grouped",
    ]


@pytest.mark.parametrize("is_full", [False, True])
def test_the_long_rows_belong_to_the_long_form(is_full: bool) -> None:
    names: Sequence[str] = [row.name for row in program.chosen("", is_full=is_full)]

    assert ("large_log_read" in names) is is_full


def test_an_unknown_row_is_named() -> None:
    with pytest.raises(ValueError, match="no row is called append_grupped"):
        program.chosen("append_grupped", is_full=False)
