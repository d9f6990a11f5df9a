"""The bank's program as a person starts it."""

from __future__ import annotations

import os


def environment(dsn: str) -> dict[str, str]:
    """Return that of a program on the database *dsn*, in which asyncio does not say on stderr what was slow."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONASYNCIODEBUG"} | {"FRAMEWORK_DSN": dsn}
