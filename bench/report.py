"""What was measured: as a table, and as a file."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import attrs
import msgspec

from bench import loops, peer
from bench.harness import Pace, Result, connected

COLUMNS: Final = ("row", "value", "unit", "compared with", "its value", "ratio", "target", "")
RED: Final = "\033[31m"
PLAIN: Final = "\033[0m"
PACKAGES: Final = ("asyncpg", "attrs", "cattrs", "msgspec", "eventsourcing", "psycopg", "psycopg-binary", "uvloop")
SETTINGS: Final = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
)


def table(results: Sequence[Result], *, colours: bool) -> str:
    """Return *results* as lines; what does not hold is red."""
    rows = [_cells(result) for result in results]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(COLUMNS, widths, strict=True)).rstrip()]
    for result, cells in zip(results, rows, strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        lines.append(f"{RED}{line}{PLAIN}" if colours and result.verdict != "ok" else line)
    for result in results:
        lines += [f"{result.name}: {note}" for note in result.notes]
    return "\n".join(lines)


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.name,
        _figure(result.value),
        result.unit,
        result.baseline or "",
        _figure(result.baseline_value),
        _figure(result.ratio),
        result.target,
        result.verdict,
    )


HUNDRED: Final = 100
"""From here on a figure has no places behind the point."""


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= HUNDRED else f"{value:.3g}"


def write(path: Path, results: Iterable[Result], settings: Mapping[str, object]) -> None:
    """Keep *results*, and what they were measured with and on, in *path*."""
    document = {"machine": _machine(), "settings": settings, "rows": [attrs.asdict(result) for result in results]}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def _machine() -> Mapping[str, object]:
    return {
        "system": platform.platform(),
        "processor": _line_of(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "processors": os.cpu_count(),
        "memory": _line_of(Path("/proc/meminfo"), "MemTotal"),
        "python": platform.python_version(),
    }


def _line_of(file: Path, key: str) -> str:
    if not file.exists():
        return ""
    found = (line.partition(":")[2].strip() for line in file.read_text().splitlines() if line.startswith(key))
    return next(found, "")


async def settings(dsn: str, pace: Pace) -> Mapping[str, object]:
    """Return what the figures hold for."""
    async with connected(dsn) as connection:
        database = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in SETTINGS}
    return {
        "pace": attrs.asdict(pace),
        "loop": loops.loop_factory.__module__,
        "packages": {name: _version(name) for name in PACKAGES},
        "postgresql": database,
        "eventsourcing": {**peer.CACHE, "threads": peer.THREADS, "pool": 2 * peer.THREADS, "database functions": "off"},
        "grouping off": "the best of 1, 8 and 32 dedicated connections",
        "bare asyncpg": "prepared statements, dedicated connections, the loop that ours has",
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
