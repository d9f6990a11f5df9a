"""A row of the benchmark: ours and what it is compared with by turns, the medians of both, and what they come to.

What a machine does at one moment it may not do at the next, so a figure says little, and the ratio of two that were
taken side by side says much. Every side checks what it has done; one whose counts are wrong has no figure.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Literal, TypeAlias
from uuid import uuid4

import asyncpg
import attrs


class WrongCountError(Exception):
    """What was done is not what is there."""


def check(what: str, found: object, wanted: object) -> None:
    """Raise `WrongCountError` unless *found* is what was *wanted*."""
    if found != wanted:
        message = f"{what}: {found!r} where {wanted!r} should be"
        raise WrongCountError(message)


@attrs.frozen
class Pace:
    """How long and how often each side works."""

    seconds: float = 2.0
    """Of steady work, in each run."""
    runs: int = 3
    warm_up: float = 0.3
    """Seconds of work before the first run that counts; with 0 there is none."""
    shrink: int = 1
    """Divides every count, so that a test can see the machinery move; figures want 1."""


@attrs.frozen
class Sample:
    """What one run of one side came to."""

    value: float
    latencies: Sequence[float] = ()
    """Seconds from asking to answer, one by one."""


Run: TypeAlias = Callable[[float], Awaitable[Sample]]
"""Works steadily for so many seconds, checks what came of it, and says how fast it was."""


@attrs.frozen
class Sides:
    """What is measured, and what it is compared with: of several baselines the best counts."""

    ours: Run
    baselines: Mapping[str, Run] = attrs.field(factory=dict[str, Run])


@attrs.frozen
class Target:
    """A bound of the ratio, or of the value where there is nothing to compare with."""

    bound: float
    is_floor: bool

    def __str__(self) -> str:
        return f"{'≥' if self.is_floor else '≤'} {self.bound:,g}"

    def is_met_by(self, figure: float) -> bool:
        """Say whether *figure* holds."""
        return figure >= self.bound if self.is_floor else figure <= self.bound

    def best(self, values: Mapping[str, float]) -> str:
        """Return the name of the value that is the hardest to compare with."""
        return (max if self.is_floor else min)(values, key=lambda name: values[name])


def at_least(bound: float) -> Target:
    return Target(bound, is_floor=True)


def at_most(bound: float) -> Target:
    return Target(bound, is_floor=False)


@attrs.frozen
class Bench:
    """Where a row finds its database, and how much it is to do."""

    dsn: str
    pace: Pace
    profiles: Path | None = None
    """The folder for profiles of our side, if any are wanted."""

    def count(self, number: int) -> int:
        """Return *number*, or what is left of it in a test."""
        return max(number // self.pace.shrink, 1)

    @asynccontextmanager
    async def schema(self) -> AsyncGenerator[str, None]:
        """Give the name of a schema that nobody has, and drop what was put there."""
        name = f"bench_{uuid4().hex[:12]}"
        try:
            yield name
        finally:
            async with connected(self.dsn) as connection:
                await connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")

    @asynccontextmanager
    async def connection(self, schema: str) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record], None]:
        """Give a plain connection into *schema*."""
        async with connected(self.dsn, schema) as connection:
            yield connection


@asynccontextmanager
async def connected(dsn: str, schema: str = "public") -> AsyncGenerator[asyncpg.Connection[asyncpg.Record], None]:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": schema, "jit": "off"})
    try:
        yield connection
    finally:
        await connection.close()


@attrs.frozen
class Row:
    """A name, a unit, a target, and how to set both sides up."""

    name: str
    unit: str
    target: Target
    setup: Callable[[Bench], AbstractAsyncContextManager[Sides]]
    is_long: bool = False
    """Whether it belongs to the long form only."""


Verdict: TypeAlias = Literal["ok", "missed", "no baseline", "failed"]


@attrs.frozen
class Result:
    """A row as it is printed and kept."""

    name: str
    unit: str
    target: str
    verdict: Verdict
    value: float | None = None
    baseline: str | None = None
    baseline_value: float | None = None
    ratio: float | None = None
    runs: Sequence[float] = ()
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    """Milliseconds, as p99 is; of all runs together."""
    p99: float | None = None
    notes: Sequence[str] = ()


async def measure(row: Row, bench: Bench) -> Result:
    """Run both sides of *row* by turns, and return what they came to."""
    try:
        async with row.setup(bench) as sides:
            return await _take_turns(row, sides, bench)
    except Exception as error:  # noqa: BLE001 - the other rows are measured all the same; the exit status tells
        return Result(row.name, row.unit, str(row.target), "failed", notes=[f"{type(error).__name__}: {error}"])


async def _take_turns(row: Row, sides: Sides, bench: Bench) -> Result:
    pace = bench.pace
    ours: list[Sample] = []
    others: dict[str, list[Sample]] = {name: [] for name in sides.baselines}
    notes: list[str] = []
    profile = cProfile.Profile() if bench.profiles else None
    uncounted = [pace.warm_up] if pace.warm_up else []
    for seconds in (*uncounted, *[pace.seconds] * pace.runs):
        if profile:
            profile.enable()
        sample = await sides.ours(seconds)
        if profile:
            profile.disable()
        ours.append(sample)
        for name in tuple(others):
            try:
                others[name].append(await sides.baselines[name](seconds))
            except Exception as error:  # noqa: BLE001 - not ours to mend: the row says so, and does not hold
                notes.append(f"{name} could not be run: {type(error).__name__}: {error}")
                del others[name]
    if profile and bench.profiles:
        _keep(profile, bench.profiles / row.name)
    first = len(uncounted)
    return _result(row, ours[first:], {name: samples[first:] for name, samples in others.items()}, sides, notes)


def _result(
    row: Row, ours: Sequence[Sample], others: Mapping[str, Sequence[Sample]], sides: Sides, notes: list[str]
) -> Result:
    runs = [sample.value for sample in ours]
    value = median(runs)
    medians = {name: median(sample.value for sample in samples) for name, samples in others.items()}
    best = row.target.best(medians) if medians else None
    ratio = value / medians[best] if best is not None else None
    notes += [f"{name}: {each:,.4g}" for name, each in medians.items() if name != best]
    figure = ratio if sides.baselines else value
    is_met = figure is not None and row.target.is_met_by(figure)
    # One that could not be run may have been the best: without it there is nothing to hold.
    verdict: Verdict = "no baseline" if len(others) < len(sides.baselines) else "ok" if is_met else "missed"
    p50, p99 = percentiles([each for sample in ours for each in sample.latencies])
    return Result(
        row.name,
        row.unit,
        str(row.target),
        verdict,
        value=value,
        baseline=best,
        baseline_value=medians[best] if best is not None else None,
        ratio=None if verdict == "no baseline" else ratio,
        runs=runs,
        min=min(runs),
        max=max(runs),
        p50=p50,
        p99=p99,
        notes=notes,
    )


def percentiles(latencies: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the p50 and the p99 of *latencies*, in milliseconds; nothing of none."""
    if not latencies:
        return None, None
    cuts = quantiles([*latencies, latencies[-1]], n=100)  # which takes two at the least
    return cuts[49] * 1000, cuts[98] * 1000


def _keep(profile: cProfile.Profile, where: Path) -> None:
    profile.dump_stats(where.with_suffix(".prof"))
    with where.with_suffix(".txt").open("w") as file:
        pstats.Stats(profile, stream=file).sort_stats("tottime").print_stats(60)


# Ways to work steadily -------------------------------------------------------------------------------


async def steadily(
    seconds: float, callers: int, act: Callable[[int, int], Awaitable[object]], *, at_least_each: int = 1
) -> Sample:
    """Have *callers* at once `act(caller, turn)` over and over, each at least so often; the value is acts a second."""
    latencies: list[float] = []
    began = perf_counter()
    until = began + seconds

    async def caller(number: int) -> None:
        turn = 0
        asked = perf_counter()
        while asked < until or turn < at_least_each:
            await act(number, turn)
            turn += 1
            answered = perf_counter()
            latencies.append(answered - asked)
            asked = answered

    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(caller(number))
    return Sample(len(latencies) / (perf_counter() - began), latencies)


async def alone(seconds: float, act: Callable[[int, int], Awaitable[object]]) -> Sample:
    """Have one caller act again and again; the value is the p50 in milliseconds."""
    sample = await steadily(seconds, 1, act)
    p50, _ = percentiles(sample.latencies)
    return Sample(p50 or 0.0, sample.latencies)


async def repeatedly(seconds: float, work: Callable[[], Awaitable[int]]) -> Sample:
    """Do *work*, which says how much it was, again and again; the value is how much a second."""
    began = perf_counter()
    done = await work()
    while perf_counter() - began < seconds:
        done += await work()
    return Sample(done / (perf_counter() - began))
