"""Plain text tables: a heading, a rule, and columns that line up; numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

Cell = str | int | datetime | None


def table(heading: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return *rows* under *heading*, each line indented by two; a column of numbers is aligned to the right."""
    lines = [[*heading], *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    is_number = [bool(rows) and all(isinstance(cell, int) for cell in column) for column in zip(*rows, strict=True)]
    is_number = is_number or [False] * len(heading)
    lines.insert(1, ["─" * width for width in widths])
    return "\n".join(
        "  "
        + "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in lines
    )


def _text(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case int():
            return f"{cell:,}"
        case datetime():
            return f"{cell:%Y-%m-%d %H:%M:%S}"
        case str():
            return cell
