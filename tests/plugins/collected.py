"""The names of all tests there are, for what is written of tests elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def collected() -> Collection[str]:
    """The node ids of all tests, without what stands in brackets for parameters, whichever of them this run is of."""
    command = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stdout
    return {line.partition("[")[0] for line in listed.stdout.splitlines() if "::" in line}
