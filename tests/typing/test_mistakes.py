"""The type checkers find the planted mistakes, all of them and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MISTAKES = HERE / "mistakes.py"

MYPY = (
    *("--strict", "--no-incremental", "--config-file=", "--no-error-summary", "--hide-error-context"),
    *("--enable-error-code=exhaustive-match", "--enable-error-code=unused-awaitable"),
)


def expected_by(checker: str) -> list[int]:
    """Return the lines marked for *checker*."""
    marks = enumerate(re.findall(r"(?:# expect: (.*))?\n", MISTAKES.read_text()), start=1)
    return [line for line, mark in marks if checker in mark.split(", ")]


def run(*command: str, cwd: Path = ROOT) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300).stdout


@pytest.mark.timeout(300)
def test_mypy_finds_the_mistakes_marked_for_it() -> None:
    said = run(sys.executable, "-m", "mypy", *MYPY, str(MISTAKES))

    found = re.findall(r"mistakes\.py:(\d+): error", said)

    assert sorted({int(line) for line in found}) == expected_by("mypy"), said


@pytest.mark.timeout(300)
def test_pyright_finds_the_mistakes_marked_for_it(tmp_path: Path) -> None:
    config = {
        "include": [os.path.relpath(MISTAKES, tmp_path.resolve())],  # it passes over absolute paths
        "extraPaths": [os.path.relpath(ROOT, tmp_path.resolve())],
        "typeCheckingMode": "strict",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    said = run(
        *(sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable),
        *("--project", str(tmp_path)),
    )

    found = [
        each["range"]["start"]["line"] + 1
        for each in json.loads(said)["generalDiagnostics"]
        if each["severity"] == "error"
    ]

    assert sorted(set(found)) == expected_by("pyright"), said
