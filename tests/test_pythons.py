"""A Python is one that runs and says so, whatever lies about under its name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import pythons

THIS = "{}.{}".format(*sys.version_info)


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Be on a machine where nothing is installed but what lies in the folder returned, which is on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(pythons, "PYENV", tmp_path / "pyenv")
    return tmp_path


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_python_on_the_path_is_found(place: Path) -> None:
    python = program(place / f"python{THIS}", f'exec {sys.executable} "$@"')

    assert pythons.find_python(THIS) == python


def test_a_shim_that_leads_nowhere_is_none(place: Path) -> None:
    program(place / f"python{THIS}", "echo 'command not found' >&2; exit 127")

    assert pythons.find_python(THIS) is None


def test_behind_such_a_shim_what_pyenv_holds_is_found(place: Path) -> None:
    program(place / f"python{THIS}", "exit 127")
    python = program(place / f"pyenv/versions/{THIS}.1/bin/python", f'exec {sys.executable} "$@"')

    assert pythons.find_python(THIS) == python


def test_a_python_of_another_version_than_its_name_says_is_none(place: Path) -> None:
    program(place / "python3.99", f'exec {sys.executable} "$@"')

    assert pythons.find_python("3.99") is None
