"""`python -m bench`: measures the rows named in ONLY, or all; FULL=1 for longer, PROFILE=1 with a profile of each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import append, dispatch, large_log, loops, memory, notice, processes, read, report, subscriptions
from bench.harness import Bench, Pace, Result, Row, measure
from framework import embedded
from framework.settings import Settings

ROWS: Final[Sequence[Row]] = (
    *append.ROWS,
    *read.ROWS,
    *large_log.ROWS,
    *dispatch.ROWS,
    *subscriptions.ROWS,
    *notice.ROWS,
    *processes.ROWS,
    *memory.ROWS,
)

SHORT: Final = Pace()
LONG: Final = Pace(seconds=10, runs=5, warm_up=2)

BUILD: Final = Path("build")

SERVER: Final = BUILD / "bench"
"""The folder of its own PostgreSQL; not a temporary one, which may lie in memory and make every fsync free."""


async def bench(rows: Sequence[Row], pace: Pace, *, has_profiles: bool) -> Sequence[Result]:
    """Measure *rows*, say each as soon as it is known, and keep them all."""
    BUILD.mkdir(exist_ok=True)
    results: list[Result] = []
    async with embedded.database(SERVER, given=Settings.from_environment(os.environ).dsn) as dsn:
        settings = await report.settings(dsn, pace)
        for row in rows:
            print(f"{row.name} …", end=" ", flush=True)
            result = await measure(row, Bench(dsn, pace, BUILD if has_profiles else None))
            print(result.verdict, flush=True)
            results.append(result)
            report.write(BUILD / "bench.json", results, settings)
    return results


def chosen(only: str, *, is_full: bool) -> Sequence[Row]:
    """Return the rows named in *only*, or all that belong to the form; raises `ValueError` for a name nobody has."""
    if not only:
        return [row for row in ROWS if is_full or not row.is_long]
    by_name = {row.name: row for row in ROWS}
    names = [name.strip() for name in only.split(",")]
    if unknown := [name for name in names if name not in by_name]:
        raise ValueError(f"no row is called {', '.join(unknown)}: there are {', '.join(by_name)}")
    return [by_name[name] for name in names]


def main() -> int:
    """Measure what the environment asks for; 1 if a row failed its own check, 2 if there is no such row."""
    is_full = os.environ.get("FULL", "") not in ("", "0")
    try:
        rows = chosen(os.environ.get("ONLY", ""), is_full=is_full)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    has_profiles = os.environ.get("PROFILE", "") not in ("", "0")
    results = loops.run(bench(rows, LONG if is_full else SHORT, has_profiles=has_profiles))
    print(report.table(results, colours=sys.stdout.isatty()))
    return int(any(result.verdict == "failed" for result in results))


if __name__ == "__main__":
    sys.exit(main())
